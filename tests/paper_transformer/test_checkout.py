"""The package in a checkout, imported by a program of another folder."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import importlib.util, sys
place = sys.argv[1]
spec = importlib.util.spec_from_file_location("paper_transformer", place, submodule_search_locations=[])
sys.modules["paper_transformer"] = package = importlib.util.module_from_spec(spec)  # as an editable installation does
spec.loader.exec_module(package)
from paper_transformer import DecodeConfig
print(DecodeConfig().beam, sys.modules["common.versions"].__file__)
"""


def test_checkout_finds_its_rooms_if_program_is_in_another_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(ROOT / "paper_transformer" / "__init__.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == f"4 {ROOT / 'common' / 'versions.py'}\n", done.stderr
