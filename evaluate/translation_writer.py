"""Write translations as text, n-best list or JSON lines; the interactive prompt."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from common.command import describe_error
from common.errors import InputError
from common.strings import string_list
from common.text import changed_note, name_lines, unknown_note
from evaluate.confidence import foreign_note, lost_note
from evaluate.config import SampleConfig
from evaluate.decoding.terms import Term
from evaluate.glossary import terms_note
from evaluate.rerank import Choose, Utility, open_choice
from evaluate.scorer import Scorer, token_texts
from evaluate.segmentation.lines import Segmenter, describe_too_long
from evaluate.segmentation.numbers import lost_numbers, numbers_note
from evaluate.segmentation.placeholders import MaskedText
from evaluate.segmentation.sentences import split_sentences
from evaluate.translation import LineTooLong, Translation
from evaluate.translator import Translator


class TranslationWriter:
    """Translates lines and writes one result per line of input, in order."""

    def __init__(
        self,
        translator: Translator,
        segmenter: Segmenter | None = None,
        *,
        n_best: int = 1,
        sampling: SampleConfig | None = None,
        prefixes: list[str] | None = None,
        as_json: bool = False,
        token_scores: bool = False,
        attention: bool = False,
        choose: Utility | tuple[str | Path, float] | None = None,
    ) -> None:
        """Create a writer. Raise InputError if the translator does not support the options.

        Args:
            segmenter: splits lines into segments that are translated alone. None: each line is translated as a whole,
                and a line that is too long is an error.
            n_best: number of translations of each line.
            sampling: sample translations instead of searching.
            prefixes: text that begins the translation of each line; without a segmenter only.
            as_json: write one JSON object per line, with scores.
            token_scores: add the log-probability of each token to the JSON; without a segmenter only.
            attention: add cross-attention weights to the JSON; without a segmenter only.
            choose: write the `n_best` best of the samples by a utility, or of the beam by a model of the reverse
                direction and its weight (`evaluate.rerank`). None: the order of the search.
        """
        translator.ids.check_n_best(n_best)
        self.translator = translator
        self.segmenter = segmenter
        self.n_best = n_best
        self.sampling = sampling
        self.prefixes = prefixes
        self.as_json = as_json
        self.token_scores = token_scores
        self.attention = attention
        self.candidates = n_best
        self.choose: Choose | None = None
        if choose is not None:
            self.candidates, self.choose = translator.config.beam, open_choice(choose, translator)
        # Numbers of lines that are not reported yet:
        self._too_long: list[int] = []  # split because they are too long
        self._unsplit: list[int] = []  # several sentences, translated as one
        self._changed: list[int] = []  # changed to one Unicode form
        self._unknown: list[int] = []  # with characters that the vocabulary does not have
        self._foreign: list[int] = []  # in the target language
        self._lost: list[int] = []  # with characters that the translation lacks
        self._numbers: list[int] = []  # with numbers that the translation lacks
        self._terms: list[int] = []  # with terms of the glossary that the translation lacks

    def write(self, out: TextIO, lines: list[str], first_line: int = 1, progress: bool = False) -> None:
        """Translate lines and write the results. `first_line` is the number of the first line.

        Raises LineTooLong for a line that is too long if there is no segmenter.
        """
        lines = string_list(lines, first_line=first_line)  # before lines become segments, which have other numbers
        masked = [self.segmenter.mask(line) if self.segmenter else MaskedText(line) for line in lines]
        visible = [line.visible for line in masked]
        self._changed += self.translator.changed_lines(visible, first_line)
        self._unknown += self.translator.unknown_lines(visible, first_line)
        foreign = self.translator.foreign_lines(visible, first_line)
        self._foreign += foreign
        if self.segmenter is None:
            translated = self._translate_whole_lines(lines, first_line, progress)
        else:
            split = self.segmenter.split_masked(masked)
            self._too_long += [number for number, line in enumerate(split, first_line) if line.too_long]
            translated = self.translator.translate_split(split, self.candidates, self.sampling, progress)
        if self.choose is not None:
            translated = [best[: self.n_best] for best in self.choose(lines, translated)]
        texts = [best[0].text for best in translated]
        lost, numbers, terms = (
            list(map(find, visible, texts))
            for find in (self.translator.lost_characters, lost_numbers, self.translator.glossary.lost)
        )
        if self.translator.tokenizer.encodes_all:  # otherwise they are among the unknown ones
            self._lost += [number for number, characters in enumerate(lost, first_line) if characters]
        self._numbers += [number for number, missing in enumerate(numbers, first_line) if missing]
        self._terms += [number for number, missing in enumerate(terms, first_line) if missing]
        if self.as_json:
            for number, line in enumerate(self._json_objects(lines, translated), first_line):
                if self.translator.calibration is not None:
                    line["target_language"] = number in foreign
                if characters := lost[number - first_line]:
                    line["lost_characters"] = characters
                if missing := numbers[number - first_line]:
                    line["lost_numbers"] = missing
                if missing := terms[number - first_line]:
                    line["lost_terms"] = missing
                print(json.dumps(line, ensure_ascii=False), file=out)
        elif self.n_best == 1 and (self.choose or self.sampling is None or self.sampling.num_samples == 1):
            for best in translated:
                print(best[0].text, file=out)
        else:
            for number, best in enumerate(translated, first_line):
                for t in best:
                    print(number, f"{t.score:.4f}", t.text, sep="\t", file=out)
        out.flush()

    def write_groups(self, out: TextIO, groups: Iterable[list[str]], progress: bool = False) -> None:
        """Translate each group of lines as soon as it arrives.

        Raises LineTooLong as `write`, after writing the lines before that line.
        """
        first_line = 1
        for lines in groups:
            try:
                self.write(out, lines, first_line, progress)
            except LineTooLong as error:
                self.write(out, lines[: error.index], first_line)
                raise
            first_line += len(lines)

    def prompt(self, out: TextIO) -> None:
        """Translate lines that a user types at a terminal, until Ctrl-D. An error does not end the prompt."""
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
        print("Type one sentence per line. Press Ctrl-D to end.", file=sys.stderr)
        number = 0
        while True:
            try:
                print("> ", end="", file=sys.stderr, flush=True)
                line = input()
            except EOFError:
                print(file=sys.stderr)
                return
            number += 1
            try:
                self.write(out, [line], number)
                self.print_notes()
            except InputError as error:
                print(f"error: {describe_error(error)}", file=sys.stderr)

    def print_notes(self) -> None:
        """Print on standard error which lines were translated in another way than expected since the last call."""
        if message := describe_too_long(self._too_long, self.translator.max_len):
            print(f"note: {message}", file=sys.stderr)
        if self._unsplit:
            print(
                f"note: the sentences of {name_lines(self._unsplit)} were translated as one: --prefix, --token-scores "
                "and --attention need whole lines. Check that none is lost, or give one sentence per line.",
                file=sys.stderr,
            )
        foreign, lost = foreign_note(self._foreign, self.translator.target_lang), lost_note(self._lost)
        numbers, terms = numbers_note(self._numbers), terms_note(self._terms)
        for message in (changed_note(self._changed), unknown_note(self._unknown), foreign, lost, numbers, terms):
            if message:
                print(f"note: {message}", file=sys.stderr)
        self._too_long, self._unsplit, self._changed = [], [], []
        self._unknown, self._foreign, self._lost, self._numbers, self._terms = [], [], [], [], []

    def _translate_whole_lines(self, lines: list[str], first_line: int, progress: bool) -> list[list[Translation]]:
        def decode(
            sources: list[list[int]], beginnings: list[list[int]] | None, terms: list[list[Term]]
        ) -> list[list[Translation]]:
            return self.translator.decode_ids(sources, self.candidates, self.sampling, progress, beginnings, terms)

        translated = self.translator.decode_whole_lines(decode, lines, self.prefixes, first_line)
        if self.translator.config.split_sentences:
            language = self.translator.source_lang
            several = (len(split_sentences(line, language)) > 1 for line in lines)
            self._unsplit += [number for number, found in enumerate(several, first_line) if found]
        return translated

    def _json_objects(self, lines: list[str], translated: list[list[Translation]]) -> list[dict[str, Any]]:
        """Return an object for each line: its text, the length penalty, and its translations with scores."""
        config = self.translator.config
        penalty = {"alpha": config.alpha, "length_penalty": config.penalty_formula}
        items = [[_json_item(t) for t in best] for best in translated]
        objects = [{"source": line, **penalty, "translations": i} for line, i in zip(lines, items, strict=True)]
        if self.token_scores or self.attention:
            self._add_details(objects, lines, translated)
        return objects

    def _add_details(
        self, objects: list[dict[str, Any]], lines: list[str], translated: list[list[Translation]]
    ) -> None:
        """Add token scores and attention weights to the objects of `_json_objects`."""
        tokenizer, scorer = self.translator.tokenizer, Scorer(self.translator)
        encoded = self.translator.encode(lines)
        sources = [ids for ids, best in zip(encoded, translated, strict=True) for _ in best]
        outputs = [t.tokens for best in translated for t in best]
        items = [item for line in objects for item in line["translations"]]
        if self.token_scores:
            for item, score in zip(items, scorer.score_ids(sources, outputs), strict=True):
                item["tokens"] = score.details(tokenizer)
        if self.attention:
            for line, ids in zip(objects, encoded, strict=True):
                line["source_tokens"] = token_texts(tokenizer, ids)
            for item, weights in zip(items, scorer.cross_attention(sources, outputs), strict=True):
                item["attention"] = weights[-1].mean(0).tolist()


def _json_item(translation: Translation) -> dict[str, Any]:
    found = {"text": translation.text, "score": translation.score, "log_prob": translation.log_prob}
    return found if translation.confidence is None else found | {"confidence": translation.confidence}
