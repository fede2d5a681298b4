"""Parse sentences: words to a constituency tree, with a model that was trained on a treebank (section 6.3)."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path

import torch

from common.errors import InputError
from common.files import STANDARD_INPUT
from common.text_input import group_lines, read_lines
from data_pipeline.sources.names import is_treebank
from data_pipeline.tokenizers.sentence_piece import Tokenizer
from data_pipeline.trees import (
    CLOSE,
    NUMBERS,
    OPEN,
    TAG,
    TREE_LANG,
    Tree,
    delinearise,
    escape_word,
    number_words,
    read_trees,
    remove_numbers,
    simplify,
    word_text,
)
from evaluate.config import DecodeConfig, EnsembleMean
from evaluate.decoding.trees import TreeTokens
from evaluate.model_folders import is_parser
from evaluate.options import at_terminal, read_standard_input
from evaluate.translation import LineTooLong
from evaluate.translator import Translator
from transformer.pretrained import find_folder

Words = Sequence[str]
"""The words of a sentence, see `Parser.parse`."""


class Parser:
    """A model with its tokenizer and decoding settings: words in, trees out.

    Every tree is well-formed: its brackets match, no constituent is empty, and its leaves are the words, in order. It
    has one constituent below the root `TOP`.

    Args:
        translator: translates words to the tokens of trees.
        constrained: False searches without the rules of a tree, to measure what they change. Then an output may be no
            tree.

    Raises InputError if the vocabulary has no tokens of trees.
    """

    def __init__(self, translator: Translator, constrained: bool = True) -> None:
        self.translator = translator
        self.constrained = constrained
        self.tokens = find_tree_tokens(translator.tokenizer) if isinstance(translator.tokenizer, Tokenizer) else None
        if self.tokens is None:
            raise InputError(
                "the vocabulary of the model has no tokens of trees, such as (NP, =NN and )NP. Train a parser: "
                f"data.target_lang={TREE_LANG}"
            )

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path | Sequence[str | Path],
        config: DecodeConfig | None = None,
        device: str | torch.device | None = None,
        compute_type: str = "float32",
        constrained: bool = True,
        ensemble_mean: EnsembleMean = "log-probabilities",
    ) -> "Parser":
        """Load a parser; the arguments are those of `Translator.from_pretrained`.

        Raises FileNotFoundError if there is no such model, InputError if it is not a parser or cannot be used.
        """
        folders = [find_parser(name) for name in ([folder] if isinstance(folder, str | Path) else folder)]
        translator = Translator.from_pretrained(
            folders, config, device, compute_type, target_lang=TREE_LANG, protect=False, ensemble_mean=ensemble_mean
        )
        return cls(translator, constrained)

    def __call__(self, sentences: Iterable[str | Words]) -> list[Tree | None]:
        """Return the tree of each sentence, see `parse`. A string is split at white space."""
        return self.parse([words.split() if isinstance(words, str) else words for words in sentences])

    def parse(self, sentences: Sequence[Words], progress: bool = False, first_line: int = 1) -> list[Tree | None]:
        """Return the tree of each sentence, in order; None for one without words, or if the output is no tree.

        Args:
            sentences: words as in the treebank: punctuation and parts such as "n't" are words of their own. A word may
                be text or as a treebank writes it: `(` or `-LRB-`.
            progress: show a progress bar on standard error.
            first_line: number of the first sentence in messages.

        Raises LineTooLong for a sentence that is too long for the model, InputError for a word with a space in it.
        """
        for words in sentences:
            list(map(escape_word, words))  # raises InputError for what is not one word
        assert self.tokens is not None
        texts = [list(map(word_text, words)) for words in sentences]
        lines = [" ".join(number_words(words) if words and self.tokens.numbers else words) for words in texts]
        ids = self.translator.encode(lines, first_line)
        if self.constrained:
            counts = [len(words) if own else 0 for words, own in zip(sentences, ids, strict=True)]
            found = self.translator.ids.find_trees(ids, counts, self.tokens, progress, first_line)
        else:
            found = [best[0] for best in self.translator.ids.translate(ids, progress=progress)]
        return [_read(output.text, words) for output, words in zip(found, sentences, strict=True)]


def _read(text: str, words: Words) -> Tree | None:
    try:
        return delinearise(remove_numbers(text.split()), words)
    except InputError:
        return None


def parse_groups(
    parser: Parser, groups: Iterable[list[Words]], progress: bool = False
) -> Iterator[list[tuple[int, Words, Tree | None]]]:
    """Yield the sentences of each group, as soon as it arrives, with their numbers, from 1, and their trees.

    Raises LineTooLong as `Parser.parse`, after yielding the sentences before.
    """
    first_line = 1
    for sentences in groups:
        try:
            trees = parser.parse(sentences, progress, first_line)
        except LineTooLong as error:
            before = sentences[: error.index]
            yield list(zip(count(first_line), before, parser.parse(before, False, first_line), strict=False))
            raise
        yield list(zip(count(first_line), sentences, trees, strict=False))
        first_line += len(sentences)


def read_sentences(lines: Sequence[str], file: Path | None) -> Iterator[list[Words]]:
    """Yield the words of lines, of a file if there are no lines, or else of standard input, in groups.

    The words of a line are separated by white space; those of a treebank are read from its trees. The beginning of a
    file is read at once, so that a mistake shows before a model is loaded.
    """
    if lines:
        return iter([[line.split() for line in lines]])
    if file is None and at_terminal():
        print("Type one sentence per line, words separated by spaces. Press Ctrl-D to end.", file=sys.stderr)
    if file is None or file == STANDARD_INPUT:
        return ([line.split() for line in group] for group in read_standard_input(file is None))
    groups = group_lines(_words_of(file), lambda words: sum(map(len, words)))
    return chain([next(groups, [])], groups)


def _words_of(file: Path) -> Iterator[Words]:
    if is_treebank(file):
        trees = map(simplify, read_trees(file))
        return ([] if tree is None else tree.words for tree in trees)
    return map(str.split, read_lines(file))


def find_parser(name: str | Path) -> Path:
    """Return the folder of a parser.

    Raises FileNotFoundError if there is no such folder, InputError if its model is not a parser.
    """
    folder = find_folder(name)
    if not is_parser(folder):
        raise InputError(
            f"{folder} contains no parser but a model that translates or continues text. Give a model that was trained "
            f"on a treebank (data.target_lang={TREE_LANG}), or use transformer.translate or transformer.generate."
        )
    return folder


def find_tree_tokens(tokenizer: Tokenizer) -> TreeTokens | None:
    """Return the tokens of trees in a vocabulary. None: it has none with which a tree can be written."""
    ids = tokenizer.whole_words
    labels = [word[1:] for word in ids if word[0] == OPEN and CLOSE + word[1:] in ids]
    leaves = tuple(token for word, token in ids.items() if word[0] == TAG)
    if not labels or not leaves:
        return None
    opening, closing = (tuple(ids[mark + label] for label in labels) for mark in (OPEN, CLOSE))
    return TreeTokens(opening, closing, leaves, tuple(ids[number] for number in NUMBERS if number in ids))
