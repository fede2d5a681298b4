"""Rooms import only what CONTRIBUTING.md lets them import, and nothing imports a command."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {
    "common": (),
    "transformer": ("common",),
    "data_pipeline": ("common",),
    "evaluate": ("common", "transformer", "data_pipeline"),
    "train": ("common", "transformer", "data_pipeline", "evaluate"),
    "serve": ("common", "transformer", "data_pipeline", "evaluate"),
    "paper_transformer": ("common", "transformer", "data_pipeline", "evaluate", "train", "serve"),
}
"""For each room, the other rooms that it may import. Only commands may import more."""
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
    if "__pycache__" not in path.parts
)
NARROW = {
    "data_pipeline/builtin/": ("data_pipeline/builtin/",),
    "evaluate/decoding/": ("evaluate/decoding/", "evaluate/config.py"),
    **dict.fromkeys(
        (f"data_pipeline/{name}.py" for name in ("batch_plan", "block_plan", "micro_batches", "buckets")),
        tuple(f"data_pipeline/{name}.py" for name in ("batch_plan", "block_plan", "micro_batches", "buckets")),
    ),
}
"""For a file or folder, the only project files that it may import, in addition to common/errors.py."""
LIBRARIES = {
    "evaluate/decoding/": {"torch"},
    "data_pipeline/batch_plan.py": {"numpy"},
    "data_pipeline/block_plan.py": {"numpy"},
    "data_pipeline/micro_batches.py": {"numpy"},
    "data_pipeline/buckets.py": {"numpy"},
}
"""For a file or folder, the only libraries outside Python's own that it may import."""
COMMAND_LINES = 80


def file_of(module: str) -> str | None:
    """The file of a dotted name, if it is a module of a room."""
    stem = module.replace(".", "/")
    return next((file for file in (f"{stem}.py", f"{stem}/__init__.py") if file in FILES), None)


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def imported(file: str) -> set[str]:
    """Dotted names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def imports(file: str) -> set[str]:
    """Files of this project that a file imports."""
    return {found for name in imported(file) if (found := file_of(name)) is not None}


def is_command(file: str) -> bool:
    return 'if __name__ == "__main__"' in (ROOT / file).read_text(encoding="utf-8")


COMMANDS = {file for file in FILES if is_command(file)}


def test_commands_include_known_commands() -> None:
    assert {"train/train.py", "evaluate/bleu.py", "transformer/translate.py"} <= COMMANDS


@pytest.mark.parametrize("file", FILES)
def test_imports_only_go_to_allowed_rooms(file: str) -> None:
    found = imports(file)
    assert not found & COMMANDS, "nothing imports a command"
    if file in COMMANDS:
        return
    room = file.split("/")[0]
    allowed = {room, *ROOMS[room]}
    assert {other for other in found if other.split("/")[0] not in allowed} == set()


@pytest.mark.parametrize("file", FILES)
def test_narrow_files_import_only_their_neighbours(file: str) -> None:
    for prefix, allowed in NARROW.items():
        if file.startswith(prefix):
            assert {f for f in imports(file) if not f.startswith((*allowed, "common/errors.py"))} <= {
                "evaluate/__init__.py", "data_pipeline/__init__.py", "common/__init__.py"
            }  # fmt: skip


@pytest.mark.parametrize("prefix", LIBRARIES)
def test_narrow_files_import_only_allowed_libraries(prefix: str) -> None:
    for file in FILES:
        if file.startswith(prefix):
            tops = {name.split(".")[0] for name in imported(file)}
            assert tops - set(sys.stdlib_module_names) - set(ROOMS) - {""} <= LIBRARIES[prefix], file


@pytest.mark.parametrize("file", sorted(COMMANDS))
def test_command_is_short(file: str) -> None:
    lines = len((ROOT / file).read_text(encoding="utf-8").splitlines())
    assert lines <= COMMAND_LINES


def test_files_do_not_import_in_a_circle() -> None:
    waiting = {file: imports(file) - {file} for file in FILES}
    while free := [file for file, needs in waiting.items() if not needs & waiting.keys()]:
        for file in free:
            del waiting[file]
    assert sorted(waiting) == []
