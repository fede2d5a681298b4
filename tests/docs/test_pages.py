"""Pages name only tests, files, commands, settings and headings that exist."""

import ast
import re
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from common.setting_types import convert, field_types
from common.settings import flatten_settings
from common.typed_values import parse_list, parse_value
from evaluate.config import DecodeConfig, SampleConfig
from train.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md"))]
ROOMS = ("common", "transformer", "data_pipeline", "evaluate", "train", "serve", "paper_transformer")
FOLDERS = (*ROOMS, "configs", "models", "benchmarks", "docs", "tests")
SUFFIXES = ("py", "md", "yaml", "json", "jsonl", "safetensors", "model", "tsv", "csv", "txt", "sh", "png", "pt", "hyp")
OTHER_SUFFIXES = ("en", "de", "fr", "gz", "xz", "zst", "bin")
"""Ends of the names of files that users have, such as train.en."""
OTHER_NAMES = {"test_set", "test_sets", "test_2016_flickr"}
"""Names that begin with test_ but are no tests: keys, modules and datasets."""
OTHER_OPTIONS = {
    "--build", "--build-arg", "--confidence", "--cpu", "--cpus", "--cpus-per-task", "--create-dirs", "--detach",
    "--dynamo_backend", "--entrypoint", "--env", "--extra-index-url", "--follow", "--gpus", "--gpus-per-node",
    "--job-name", "--kill-on-bad-exit", "--machine_rank", "--main_process_ip", "--main_process_port",
    "--max_restarts", "--mixed_precision", "--multi_gpu", "--no-deps", "--nodes", "--now", "--ntasks-per-node",
    "--num_machines", "--num_processes", "--open-mode", "--quiet", "--requeue", "--rm", "--shell", "--signal",
    "--time", "--unit",
}  # fmt: skip
"""Options of accelerate, argcomplete, COMET, curl, Docker, pip, sacreBLEU, Slurm and systemd."""
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code_of(page: str) -> str:
    """The code blocks and the code in the lines of a page."""
    return "\n".join(CODE.findall(text_of(page)))


@cache
def known_tests() -> set[str]:
    """Names of all test functions, and of the files they are in."""
    files = list((ROOT / "tests").rglob("*.py"))
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    functions = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return functions | {file.stem for file in files} | OTHER_NAMES


@cache
def known_settings() -> set[str]:
    """Every setting, and every section."""
    names = set(flatten_settings(RunConfig()))
    return names | {name.rpartition(".")[0] for name in names} - {""}


@cache
def known_options() -> set[str]:
    """Every option of the project's commands."""
    files = [file for folder in (*ROOMS, "benchmarks", "docs") for file in (ROOT / folder).rglob("*.py")]
    written = {option for file in files for option in re.findall(r'"(--[a-z][\w-]*)', file.read_text(encoding="utf-8"))}
    made = {f"--{field.name.replace('_', '-')}" for schema in (DecodeConfig, SampleConfig) for field in fields(schema)}
    switched = {
        f"--no-{field.name.replace('_', '-')}" for field in fields(DecodeConfig) if field.type in (bool, "bool")
    }
    return written | made | switched


@cache
def known_targets() -> set[str]:
    """Targets of the Makefile."""
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def is_command(file: Path) -> bool:
    return file.is_file() and '__name__ == "__main__"' in file.read_text(encoding="utf-8")


def slugs(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ +(.+?) *$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES)
def test_page_names_only_tests_that_exist(page: str) -> None:
    names = re.findall(r"\btest_\w+\b(?!\.(?!py\b)\w)", text_of(page))  # test_2016.en is a file of a user
    assert set(names) - known_tests() == set()


@pytest.mark.parametrize("page", PAGES)
def test_page_names_only_files_that_exist(page: str) -> None:
    names = re.findall(rf"(?<![\w/.*-])((?:{'|'.join(FOLDERS)})/[\w./*-]*)", code_of(page))
    for name in names:
        name = name.rstrip(".")
        assert any(ROOT.glob(name)) or Path(name).suffix[1:] not in SUFFIXES, name


@pytest.mark.parametrize("page", PAGES)
def test_page_names_only_commands_that_exist(page: str) -> None:
    code = code_of(page)
    for module in re.findall(rf"python3? -m ((?:{'|'.join(FOLDERS)})[\w.]*)", code):
        path = ROOT / module.replace(".", "/")
        assert is_command(path.with_suffix(".py")) or (path / "__main__.py").is_file(), module
    for name in re.findall(r"(?:python3?|accelerate launch(?: --?\S+| \d+)*) ([\w./-]+\.py)", code):
        if name.split("/")[0] in FOLDERS:
            assert is_command(ROOT / name), name
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", code, re.MULTILINE)) <= known_targets()


@pytest.mark.parametrize("page", PAGES)
def test_page_names_only_options_that_exist(page: str) -> None:
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code_of(page))) - known_options() - OTHER_OPTIONS == set()


@pytest.mark.parametrize("page", PAGES)
def test_page_names_only_settings_that_exist(page: str) -> None:
    sections = {name.split(".")[0] for name in known_settings() if "." in name}
    for name in re.findall(rf"(?<![\w/.-])((?:{'|'.join(sections)})(?:\.[a-z]\w*)+)(?![\w/(*])", code_of(page)):
        path = ROOT / name.replace(".", "/")
        is_module = path.with_suffix(".py").is_file() or path.is_dir() or path.parent.with_suffix(".py").is_file()
        assert name in known_settings() or is_module or name.split(".")[-1] in (*SUFFIXES, *OTHER_SUFFIXES), name


@pytest.mark.parametrize("page", PAGES)
def test_page_gives_settings_only_values_of_their_type(page: str) -> None:
    types = field_types(RunConfig)
    for name, value in re.findall(
        r"(?<![\w/.-])([a-z]\w*\.\w+)=(\[\[.*?\]\]|\[[^\n\]]*\]|[^\s`'\"),;…]+)", code_of(page)
    ):
        if name in known_settings():
            convert(name, *types[name], parse_list(value) if types[name][0] is Any else parse_value(value))


@pytest.mark.parametrize("page", PAGES)
def test_page_links_to_files_and_headings_that_exist(page: str) -> None:
    for target in (first or second for first, second in LINK.findall(text_of(page))):
        if re.match(r"\w+:", target):
            continue
        name, _, heading = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), target
        if heading:
            assert heading in slugs(file.read_text(encoding="utf-8")), target


def test_site_lists_every_page() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        if page.startswith("docs/"):
            name = page.removeprefix("docs/").replace("README.md", "index.md")
            assert re.search(rf"[ :]{re.escape(name)}$", listed, re.MULTILINE), f"add {name} to nav in mkdocs.yml"


def test_messages_of_troubleshooting_page_exist() -> None:
    text = "".join(file.read_text(encoding="utf-8") for room in ROOMS for file in (ROOT / room).rglob("*.py"))
    table = text_of("docs/troubleshooting.md").partition("| message contains |")[2].partition("\n\n")[0]
    for message in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE):
        fixed = re.sub(r"\b2(?= days)", "{LONGEST_DAYS}", message)
        assert fixed in text, message


def test_no_text_installs_package_by_name_from_index() -> None:
    """The package is not on an index, so such a command fails or installs something else."""
    sources = [file for room in (*ROOMS, "benchmarks") for file in (ROOT / room).rglob("*.py")]
    for name in (*PAGES, *(source.relative_to(ROOT).as_posix() for source in sources)):
        assert not re.search(r"install\s+(-\S+\s+)*['\"]?paper[-_]transformer", text_of(name)), name


def test_slugs_equal_anchors_of_github() -> None:
    assert slugs("# Two `words`, and [a link](x.md)\n## A.B (c)\n") == {"two-words-and-a-link", "ab-c"}
