"""Trees from text."""

import tempfile
from pathlib import Path

from data_pipeline.trees import Tree, read_trees


def parse(text: str) -> Tree:
    """Return the tree of a text with one tree."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.mrg"
        file.write_text(text, encoding="utf-8")
        (tree,) = read_trees(file)
        return tree
