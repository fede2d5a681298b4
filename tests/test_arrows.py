"""The packages stand on one another in one direction, and nothing imports an entry point."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("configs", "transformer", "data_pipeline", "evaluate", "train")
MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for package in PACKAGES
    for path in (ROOT / package).glob("*.py")
    if path.name != "__init__.py"
)
ENTRIES = {
    module for module in MODULES if 'if __name__ == "__main__"' in (ROOT / f"{module.replace('.', '/')}.py").read_text()
}
SEARCH = {"evaluate.search", "evaluate.sampling", "evaluate.config"}
MAY_IMPORT = {
    "configs": ("configs",),
    "transformer": ("transformer",),
    "data_pipeline": ("data_pipeline",),
    "evaluate": ("evaluate", "transformer", "data_pipeline"),
    "train": PACKAGES,
}


def imports(module: str) -> set[str]:
    """Modules of this project that `module` imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES}


def test_there_are_entries_and_they_are_the_known_ones() -> None:
    known = {"train.train", "train.average", "evaluate.bleu", "transformer.translate", "transformer.generate"}
    assert known <= ENTRIES


@pytest.mark.parametrize("module", MODULES)
def test_no_arrow_runs_backwards(module: str) -> None:
    found = imports(module)
    assert not found & ENTRIES, "nothing imports an entry point"
    if module in ENTRIES:
        return
    allowed = MAY_IMPORT[module.split(".")[0]]
    if module in SEARCH:
        assert found <= SEARCH, "the search knows no model and no data"
    assert {name for name in found if name.split(".")[0] not in allowed} == set()
