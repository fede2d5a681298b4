"""The wheel: one package, installed beside another package named `evaluate`, complete without the checkout."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from build_wheel import ROOMS, change_commands, change_imports
from tests.tiny_model import make_folder
from transformer.pretrained import FILES

ROOT = Path(__file__).resolve().parents[2]
SUFFIXES = (".py", ".yaml", ".tsv", ".css", ".html", ".js", ".svg")
INCLUDED = "transformer/included/aa-bb"
"""A tiny included model that the fixture adds to the copy of the checkout."""
CONTENT = ("paper_transformer", "configs", *ROOMS)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the checkout; return a folder of packages with it and a foreign `evaluate`."""
    source, wheels, site = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "build_wheel.py", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    for name in CONTENT:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    about = make_folder(source / INCLUDED) / "config.json"
    about.write_text(about.read_text().replace('"en"', '"aa"').replace('"de"', '"bb"'))
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), ".")
    subprocess.run([sys.executable, *build], cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    (site / "evaluate").mkdir()
    (site / "evaluate" / "__init__.py").write_text("FOREIGN = True\n")
    return site


def run(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in another folder, with the packages of `site`."""
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_wheel_has_one_package_with_all_files(site: Path) -> None:
    (info,) = site.glob("*.dist-info")
    assert (info / "top_level.txt").read_text().split() == ["paper_transformer"]
    tops = {path.name for path in site.iterdir()} - {"evaluate", info.name}
    assert tops == {"paper_transformer"}
    expected = {
        str(path.relative_to(ROOT)) if name != "paper_transformer" else path.name
        for name in CONTENT
        for path in (ROOT / name).rglob("*")
        if (path.suffix in SUFFIXES or {"included", "sentences"} & {*path.parts}) and path.is_file()
        if "__pycache__" not in path.parts
    }
    expected |= {f"{INCLUDED}/{file}" for file in FILES} | {"commit.txt"}
    package = site / "paper_transformer"
    assert {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()} >= expected


def test_wheel_works_beside_foreign_package_evaluate(site: Path, tmp_path: Path) -> None:
    code = (
        "import sys, evaluate\nassert evaluate.FOREIGN\n"
        "from paper_transformer import DecodeConfig, Generator, InputError, ModelConfig, Translation, Translator\n"
        "import paper_transformer.train.loop, paper_transformer.evaluate.bleu\n"
        "assert ModelConfig().d_model == 512\nassert evaluate is sys.modules['evaluate']\n"
        "rooms = {'common', 'configs', 'data_pipeline', 'train', 'transformer'}\n"
        "assert not rooms & set(sys.modules), rooms & set(sys.modules)\nprint(Translator.__module__)"
    )
    done = run(site, tmp_path, "-c", code)
    assert done.stdout == "paper_transformer.evaluate.translator\n", done.stderr


def test_wheel_trains_translates_and_evaluates_in_another_folder(site: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    settings = [
        "data.grammar_pairs=300", "data.vocab_size=400", "model.d_model=16", "model.n_layers=1", "model.n_heads=2",
        "model.d_ff=32", "train.max_steps=2", "train.threads=1", "train.log_with=none", "validation.bleu_sentences=2",
        "schedule.warmup_steps=1", "checkpoints.every=1", "batches.tokens_per_update=2650", "run_dir=runs/tiny",
    ]  # fmt: skip
    config = str(site / "paper_transformer" / "configs" / "demo.yaml")
    trained = run(site, tmp_path, "-m", "paper_transformer", "train", "--config", config, *settings)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "runs/tiny/model.safetensors").is_file()
    assert "python -m paper_transformer.train.report runs/tiny" in (tmp_path / "runs/tiny/report.html").read_text()
    translated = run(site, tmp_path, "-m", "paper_transformer", "translate", "--model", "runs/tiny", "The red car.")
    assert translated.returncode == 0, translated.stderr
    assert translated.stdout.count("\n") == 1
    (tmp_path / "a.en").write_text("The car.\n")
    (tmp_path / "a.de").write_text("Das Auto.\n")
    files = ("--source", "a.en", "--reference", "a.de")
    scored = run(site, tmp_path, "-m", "paper_transformer", "evaluate", "--model", "runs/tiny", *files)
    assert scored.returncode == 0, scored.stderr
    assert "BLEU" in scored.stdout
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before, "something wrote into the package"


def test_wheel_translates_with_included_model_in_another_folder(site: Path, tmp_path: Path) -> None:
    command = ("-m", "paper_transformer", "translate", "--beam", "2", "--max-extra", "4")
    done = run(site, tmp_path, *command, "--from", "aa", "--to", "bb", "The red car.")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    missing = run(site, tmp_path, *command, "--from", "xx", "The red car.")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "no included model translates from xx; there are: aa to bb" in missing.stderr
    assert "python -m paper_transformer.transformer.convert --from marian" in missing.stderr


def test_console_command_prints_version_and_rejects_unknown_command(site: Path, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    done = run(site, tmp_path, "-m", "paper_transformer", "--version")
    torch = importlib.metadata.version("torch")
    expected = f"paper-transformer {version}\ncommit unknown\ntorch {torch}\nincluded models: aa-bb"
    assert done.stdout.startswith(expected), done.stderr
    wrong = run(site, tmp_path, "-m", "paper_transformer", "translat")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "there is no command 'translat'. Give one of translate, generate" in wrong.stderr


def test_console_command_lists_all_commands(site: Path, tmp_path: Path) -> None:
    done = run(site, tmp_path, "-m", "paper_transformer")
    commands = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    for command in commands:
        help_text = run(site, tmp_path, "-m", "paper_transformer", command, "--help")
        assert help_text.stdout.startswith(f"usage: paper-transformer {command}"), help_text.stderr


def test_change_imports_changes_statements_only() -> None:
    text = '"""evaluate.bleu"""\nfrom evaluate.translator import X\n    import train.loop\nimport trainer\n\n'
    assert change_imports(text) == (
        '"""evaluate.bleu"""\nfrom paper_transformer.evaluate.translator import X\n'
        "    import paper_transformer.train.loop\nimport trainer\n\n"
    )


def test_change_commands_names_commands_of_wheel() -> None:
    text = "python -m train.doctor, accelerate launch train/train.py, python evaluate/bleu.py, python -m training.x"
    assert change_commands(text) == (
        "python -m paper_transformer.train.doctor, accelerate launch -m paper_transformer.train.train, "
        "python -m paper_transformer.evaluate.bleu, python -m training.x"
    )


def test_public_names_are_importable_in_checkout() -> None:
    code = "import paper_transformer as p; print([getattr(p, name).__name__ for name in p.__all__] == p.__all__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
