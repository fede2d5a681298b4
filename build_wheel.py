"""How the wheel is built: the rooms become subpackages of `paper_transformer`.

In a checkout, `evaluate/translator.py` is imported as `evaluate.translator`. An installed wheel must not own such
names, because Hugging Face has a package `evaluate`. pyproject.toml maps the folders, and `build_py` changes the import
statements of the copied files to match.
"""

import re
from pathlib import Path

from setuptools.command.build_py import build_py as setuptools_build_py

ROOMS = ("common", "transformer", "data_pipeline", "evaluate", "train")
IMPORT = re.compile(rf"^(\s*)(from|import) ({'|'.join(ROOMS)})(?=[. ])", re.MULTILINE)


def change_imports(text: str) -> str:
    """Return Python source whose imports of rooms name `paper_transformer` first."""
    return IMPORT.sub(r"\1\2 paper_transformer.\3", text)


class build_py(setuptools_build_py):
    """Copies the packages, and changes the imports of the copies."""

    def build_module(self, module, module_file, package):  # type: ignore[no-untyped-def]
        copied, done = super().build_module(module, module_file, package)
        path = Path(copied)
        path.write_text(change_imports(path.read_text(encoding="utf-8")), encoding="utf-8")
        return copied, done
