"""How the wheel is built: the rooms become subpackages of `paper_transformer`.

In a checkout, `evaluate/translator.py` is imported as `evaluate.translator`. An installed wheel must not own such
names, because Hugging Face has a package `evaluate`. pyproject.toml maps the folders, and `build_py` changes the import
statements of the copied files to match, and the commands that messages and help texts name. It also writes the commit
of the checkout into the wheel.
"""

import re
import subprocess
from pathlib import Path

from setuptools.command.build_py import build_py as setuptools_build_py

ROOMS = ("common", "transformer", "data_pipeline", "evaluate", "train", "serve")
IMPORT = re.compile(rf"^(\s*)(from|import) ({'|'.join(ROOMS)})(?=[. ])", re.MULTILINE)

MODULE = re.compile(rf"(?<=python -m )({'|'.join(ROOMS)})(?=\.\w)")
SCRIPT = re.compile(r"\b(python|accelerate launch) (train|evaluate)/(\w+)\.py\b")


def change_imports(text: str) -> str:
    """Return Python source whose imports of rooms name `paper_transformer` first."""
    return IMPORT.sub(r"\1\2 paper_transformer.\3", text)


def change_commands(text: str) -> str:
    """Return text in which commands such as `python -m train.doctor` are those of an installed wheel."""
    return SCRIPT.sub(r"\1 -m paper_transformer.\2.\3", MODULE.sub(r"paper_transformer.\1", text))


def read_commit() -> str:
    """Return the commit of the checkout, `unknown` without one, for example in a source distribution."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty= and changes since"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:  # no git
        return "unknown"
    in_checkout = (Path(__file__).parent / ".git").exists()  # git also finds a checkout around an unpacked archive
    return done.stdout.strip() if in_checkout and done.returncode == 0 else "unknown"


class build_py(setuptools_build_py):
    """Copies the packages, changes imports and commands in the copies, and writes the commit."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            (Path(self.build_lib) / "paper_transformer" / "commit.txt").write_text(f"{read_commit()}\n")

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        commit = str(Path(self.build_lib) / "paper_transformer" / "commit.txt")
        return [*super().get_outputs(include_bytecode), commit]

    def build_module(self, module, module_file, package):  # type: ignore[no-untyped-def]
        copied, done = super().build_module(module, module_file, package)
        path = Path(copied)
        path.write_text(change_commands(change_imports(path.read_text(encoding="utf-8"))), encoding="utf-8")
        return copied, done
