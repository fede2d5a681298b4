"""The pages of docs/learn: their code runs at a small size and prints what the pages show."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from docs.learn import pictures, run
from docs.learn.drawing import Drawing
from docs.learn.run import examples, find_page, given_values, run_page, small_values, with_outputs, with_time

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(run.FOLDER.glob("[0-9][0-9]-*.md"))
LINKED_SYMBOLS = re.compile(r"\[((?:`[\w.]+`(?:, )?)+)\]\(([^)#\s]+\.py)\)")
DOTTED_NAME = re.compile(r"`((?:common|transformer|data_pipeline|evaluate|train|docs)(?:\.\w+)+)`")

PAGE = """# Title

A = 1 in the text is no constant.

```python
SIZE = 40
print(SIZE)
```
<!-- test: SIZE = 2 + 2 -->

```text
4
```

```python (not run)
raise ValueError
```

<details><summary>Answer</summary>

```python
print(SIZE * 2)
```

```text what you should see (random)
80
```
</details>
<!-- run -->
<!-- end -->
"""


def run_text(text: str, values: dict[str, str]) -> list[str]:
    return [printed for _, printed in run_page(text, Path("page.md"), values)]


@pytest.fixture(autouse=True)
def keep_default_dtype() -> Iterator[None]:
    """Restore what a page may change."""
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_prints_what_it_shows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for example, printed in run_page(text, page, small_values(text)):
        if example.exact:
            assert printed.rstrip("\n") == (example.output or "").rstrip("\n"), f"{page.name}, line {example.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_has_all_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for part in ("**Question.**", "**Time.**", "<!-- run -->", "](pictures/", "## What you should see", "## Exercises"):
        assert part in text, part
    exercises = text.partition("## Exercises")[2]
    assert exercises.count("<details>") == exercises.count("</details>") == 2


@pytest.mark.parametrize("page", sorted(run.FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_page_names_only_symbols_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for names, target in LINKED_SYMBOLS.findall(text):
        symbols = symbols_of((page.parent / target).resolve())
        for name in re.findall(r"`([\w.]+)`", names):
            assert name.split(".")[-1] in symbols or name.endswith(".py"), f"{name} is not in {target}"
    for name in DOTTED_NAME.findall(text):
        assert is_dotted_name(name), name


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_picture_equals_drawing_of_script(name: str) -> None:
    assert (pictures.FOLDER / f"{name}.svg").read_text(encoding="utf-8") == pictures.PICTURES[name]().svg()


def test_every_picture_is_drawn_by_script_and_shown() -> None:
    files = {file.stem for file in pictures.FOLDER.glob("*.svg")}
    text = "".join(page.read_text(encoding="utf-8") for page in run.FOLDER.glob("*.md"))
    shown = set(re.findall(r"\]\(pictures/([\w-]+)\.svg\)", text))
    assert files == set(pictures.PICTURES) == shown


def test_drawing_escapes_text_and_defines_head_of_each_colour() -> None:
    drawing = Drawing(10, 10, "a < b")
    drawing.line((0, 0), (5, 5), "#123456", head=True)
    drawing.text((5, 5), "x & y")
    assert "<title>a &lt; b</title>" in drawing.svg()
    assert "x &amp; y" in drawing.svg()
    assert drawing.svg().count('<marker id="h123456"') == 1


def symbols_of(file: Path) -> set[str]:
    """Names of functions, classes, fields and constants of a file."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assigned = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return defined | assigned | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def is_dotted_name(name: str) -> bool:
    """Return True for a module, a name in a module, a file, or a setting, which test_pages checks."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file():
            return set(parts[end:]) <= symbols_of(path.with_suffix(".py"))
        if path.is_dir():
            return end == len(parts) or (parts[0] in ("train",) and len(parts) == 2)
    return False


def test_examples_have_code_line_and_output() -> None:
    first, second = examples(PAGE)
    assert (first.code, first.output, first.exact) == ("SIZE = 40\nprint(SIZE)\n", "4\n", True)
    assert PAGE.splitlines()[first.line - 1] == "SIZE = 40"
    assert (second.output, second.exact) == ("80\n", False)


def test_run_page_replaces_constants_in_one_namespace() -> None:
    assert run_text(PAGE, {}) == ["40\n", "80\n"]
    assert run_text(PAGE, small_values(PAGE)) == ["4\n", "8\n"]
    assert run_text(PAGE, given_values(["SIZE=ab"])) == ["ab\n", "abab\n"]


def test_run_page_rejects_unknown_constant() -> None:
    with pytest.raises(InputError, match="has no constant STEPS"):
        run_text(PAGE, {"STEPS": "1"})


def test_run_page_names_line_of_page_in_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as error:
        run_text("# Title\n\n```python\nx = 1\nx / 0\n```\n", {})
    assert error.traceback[-1].lineno + 1 == 5


def test_given_values_rejects_word_without_value() -> None:
    with pytest.raises(InputError, match="Write for example UPDATES=500"):
        given_values(["fast"])


def test_find_page_rejects_unknown_number() -> None:
    with pytest.raises(InputError, match="there is no page 99"):
        find_page("99")


def test_find_page_finds_numbers_and_questions() -> None:
    assert find_page("3").name.startswith("03-")
    assert find_page("questions").name == "questions.md"


def test_run_writes_output_and_time_into_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "01-title.md").write_text(PAGE)
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["run", "1", "SIZE=3", "--write"])
    run.main()
    written = (tmp_path / "01-title.md").read_text()
    assert [example.output for example in examples(written)] == ["3\n", "6\n"]
    assert "`python -m docs.learn.run 1 SIZE=3`: 0 s of CPU time, " in written
    assert capsys.readouterr().out.startswith("3\n6\n")


def test_with_outputs_and_with_time_keep_rest_of_page() -> None:
    printed = list(run_page(PAGE, Path("page.md"), small_values(PAGE)))
    assert with_outputs(PAGE, printed) == PAGE.replace("\n80\n", "\n8\n")
    assert "3 minutes" in with_time(PAGE, ["1"], 180.0)
