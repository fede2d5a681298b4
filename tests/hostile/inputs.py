"""The hostile inputs, by kind: numbers and settings, model folders, run folders, files, tables and text."""

from tests.hostile.folders import FOLDERS
from tests.hostile.numbers import NUMBERS
from tests.hostile.texts import TEXTS

INPUTS = [*NUMBERS, *FOLDERS, *TEXTS]
"""All of them. Names are distinct."""
