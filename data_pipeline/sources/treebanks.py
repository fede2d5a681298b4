"""Treebanks as corpora: the words of each tree are the source, its tokens the target (section 6.3)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.text import unify
from data_pipeline.config import DataConfig
from data_pipeline.trees import (
    TREE_LANG,
    Tree,
    linearise,
    number_tokens,
    number_words,
    read_trees,
    simplify,
    word_text,
)

SentencePair = tuple[str, str]


def read_treebanks(
    files: Sequence[Path], note: Callable[[str], None], numbered: bool = False
) -> Iterator[SentencePair]:
    """Yield words and tokens of each tree, each joined by spaces; two empty texts for a tree without words.

    `note` gets a sentence on each file, with what was removed. With `numbered`, words and tags have numbers
    (`data.number_words`). Raises as `read_trees`.
    """
    for file in files:
        counts = _Counts()
        for tree in read_trees(file):
            words, tokens = counts.add(tree)
            if numbered and words:
                words, tokens = number_words(words), number_tokens(tokens)
            yield " ".join(words), " ".join(tokens)
        note(f"note: {counts.describe(file)}")


def check_tree_corpus(name: str, treebank: bool, config: DataConfig) -> None:
    """Raise InputError unless the corpus is a treebank exactly if the target language is `tree`."""
    if treebank and config.target_lang != TREE_LANG:
        raise InputError(
            f"{name} is a treebank, but data.target_lang is {config.target_lang}. Set data.target_lang={TREE_LANG}"
        )
    if not treebank and config.target_lang == TREE_LANG:
        raise InputError(
            f"data.target_lang={TREE_LANG} needs a treebank, but {name} is none. Give a file with bracketed trees "
            "whose name ends with .trees, .mrg, .parse or .ptb, or set another data.target_lang"
        )


@dataclass
class _Counts:
    """What a file of trees has, and what is not in its sentence pairs."""

    trees: int = 0
    empty: int = 0
    traces: int = 0
    changed: int = 0

    def add(self, tree: Tree) -> tuple[list[str], list[str]]:
        """Return words and tokens of the next tree."""
        self.trees += 1
        simple = simplify(tree)
        if simple is None:
            self.empty += 1
            self.traces += len(tree.words)
            return [], []
        self.traces += len(tree.words) - len(simple.words)
        words = [word_text(word) for word in simple.words]
        self.changed += sum(map(_has_spaces, simple.words))
        return words, linearise(simple)

    def describe(self, file: Path) -> str:
        """Return how many trees a file has, and what was removed from them."""
        empty = f", trees without words: {self.empty:,}" if self.empty else ""
        spaces = f", words with spaces in them, which are removed: {self.changed:,}" if self.changed else ""
        return (
            f"{file}: trees, without functional tags and indices: {self.trees:,}, traces, which are removed: "
            f"{self.traces:,}{empty}{spaces}"
        )


def _has_spaces(word: str) -> bool:
    """Return True if `word_text` removes spaces from a word."""
    return not word.isascii() and "".join(unify(word).split()) != unify(word)
