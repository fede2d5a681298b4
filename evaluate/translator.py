"""Translate lines of text: token ids, batches of similar length, a backend, and text again, in the given order."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path

import torch

from common.directions import (
    Languages,
    choose_direction,
    has_tags,
    model_directions,
)
from common.errors import InputError
from common.strings import string_list
from common.text import changed_lines, changed_note, one_line, unknown_note
from data_pipeline.tokenizers import TranslationTokenizer, open_translation_tokenizer
from data_pipeline.tokenizers.sentence_piece import EOS_ID, UNK_ID
from evaluate.alignment import align
from evaluate.backends import Backend
from evaluate.backends.ctranslate2 import CTranslate2Backend
from evaluate.backends.pytorch import PyTorchBackend
from evaluate.confidence import Calibration, common_words, foreign_note, lost_note, read_calibration
from evaluate.config import BackendName, DecodeConfig, EnsembleMean, SampleConfig
from evaluate.decoding.terms import Term, WordEnds
from evaluate.glossary import NO_GLOSSARY, Glossary, find_word_ends, make_term, terms_note
from evaluate.id_translator import IdTranslator
from evaluate.length_batches import IdPair, fits_forced, map_batches
from evaluate.model_folders import find_models, read_decode_config
from evaluate.segmentation.lines import (
    SegmentedLine,
    Segmenter,
    copy_line,
    is_translated,
    too_long_note,
    translate_segments,
)
from evaluate.segmentation.marks import Weights
from evaluate.segmentation.numbers import lost_numbers, numbers_note
from evaluate.segmentation.placeholders import MaskedText
from evaluate.segmentation.protection import translate_all
from evaluate.translation import EMPTY, LineTooLong, Translation
from transformer.included_models import DEFAULT
from transformer.pretrained import check_vocab_size, read_about

Note = Callable[[str], object]
Decode = Callable[[list[list[int]], list[list[int]] | None, list[list[Term]]], list[list[Translation]]]
"""Returns the translations of sources, given their ids, those of their prefixes, and their terms."""
Pairs = Iterable[tuple[str, str]]
"""Source and target terms of a glossary."""
BACKENDS: dict[BackendName, type[Backend]] = {"torch": PyTorchBackend, "ctranslate2": CTranslate2Backend}


class Translator:
    """A translation model with its tokenizer and decoding settings: raw text in, raw text out.

    Results do not depend on the order of the lines. Other lines of a batch change them by rounding only.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: TranslationTokenizer,
        config: DecodeConfig | None = None,
        source_lang: str = "en",
        target_lang: str = "de",
        calibration: Calibration | None = None,
        protect: bool = True,
        directions: Sequence[Languages] = (),
    ) -> None:
        """Create a translator. `directions` are those of a model of several, whose tokenizer has a tag for each."""
        self.backend = backend
        self.tokenizer = tokenizer.for_target(target_lang) if directions else tokenizer
        self.directions = tuple(directions)
        self.config = config or DecodeConfig()
        self.source_lang = source_lang
        self.target_lang = target_lang
        self.calibration = calibration
        self.protect = protect
        self.glossary = NO_GLOSSARY
        self._terms: dict[str, Term] = {}

    def with_glossary(self, glossary: Glossary | str | Path | Pairs) -> "Translator":
        """Return a translator with the same model whose translations contain the target terms of a glossary.

        Args:
            glossary: a file with two columns, source and target term, separated by a tab; or pairs of terms. A
                translation of a sentence with a source term contains its target term (`evaluate.glossary`).

        Raises:
            FileNotFoundError: there is no such file.
            InputError: the glossary is empty or contradicts itself, the vocabulary cannot write a term, or the backend
                does not support glossaries.
        """
        self.ids.require("glossary")
        changed = copy(self)
        changed.glossary = Glossary.open(glossary)
        changed._terms = {target: make_term(self.tokenizer, target) for _, target in changed.glossary.pairs}
        changed._word_ends = self._word_ends
        return changed

    def with_direction(self, source_lang: str | None = None, target_lang: str | None = None) -> "Translator":
        """Return a translator with the same model for the only one of its directions with these languages.

        Raises InputError if there is none, or if there are several, and if this translator has a glossary, which is for
        one direction.
        """
        directions = self.directions or [(self.source_lang, self.target_lang)]
        languages = choose_direction("this model", directions, source_lang, target_lang)
        if languages == (self.source_lang, self.target_lang):
            return self
        if self.glossary.pairs:
            raise InputError("a glossary is for one direction. Choose the direction before the glossary.")
        changed = copy(self)
        changed.source_lang, changed.target_lang = languages
        changed.tokenizer = self.tokenizer.for_target(changed.target_lang)
        return changed

    @cached_property
    def _word_ends(self) -> WordEnds:
        return find_word_ends(self.tokenizer)

    @property
    def ids(self) -> IdTranslator:
        """The part that translates sentences which `encode` has encoded."""
        return IdTranslator(self.backend, self.tokenizer, self.config, self.calibration)

    def find_terms(self, texts: Iterable[str]) -> list[list[Term]]:
        """Return the terms that the translation of each text must contain."""
        return [[self._terms[target] for target in self.glossary.find(text)] for text in texts]

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path | Sequence[str | Path] | None = None,
        config: DecodeConfig | None = None,
        device: str | torch.device | None = None,
        compute_type: str = "float32",
        backend: BackendName = "torch",
        prepack: bool = True,
        shortlist: Path | None = None,
        source_lang: str | None = None,
        target_lang: str | None = None,
        protect: bool = True,
        glossary: Glossary | str | Path | Pairs | None = None,
        ensemble_mean: EnsembleMean = "log-probabilities",
    ) -> "Translator":
        """Load a translation model.

        Args:
            folder: a model folder, or a name on the Hugging Face Hub such as `user/model`. None is the included model
                of the two languages. Several folders with one vocabulary are an ensemble; its settings are those of the
                first folder.
            config: decoding settings; None are those of the model folder.
            device: None is the GPU if there is one.
            compute_type: number format of the computations. With bfloat16 and float16 the model needs half of the
                memory, and its scores have three digits; log-probabilities are still added in fp32. int8 is for
                CPUs: large matrices have 8 bits, and scores have two digits. auto is bfloat16 if it is faster on this
                machine, else float32. The backend ctranslate2 supports other types too; its auto is float32.
            backend: torch, or ctranslate2, which uses an export that is created on first use (docs/export.md).
            prepack: with torch on a CPU, lay the weights out for faster inference. False leaves the model unchanged,
                for example to read its weights.
            shortlist: with torch, a file of `evaluate.make_shortlist`. Searches are faster with a large vocabulary, and
                find only the tokens that the file lists.
            source_lang: source language that the model must have. Without folder and languages it is en. Of a model of
                several directions, both languages choose one; they may be omitted if only one fits.
            target_lang: target language that the model must have. Without folder and languages it is de.
            protect: addresses, placeholders, code, markup and emoji come out unchanged (docs/translating.md). False
                leaves them to the model, for example to measure it.
            glossary: terms and their translations, see `with_glossary`.
            ensemble_mean: what an ensemble averages: `log-probabilities` or `probabilities`.

        Raises:
            FileNotFoundError: there is no such model or glossary.
            InputError: it is not a translation model, or has other languages, or several directions fit, or the device
                cannot compute in that type, or the glossary cannot be used.
        """
        if glossary is not None:
            glossary = Glossary.open(glossary)  # before the model is loaded, so that a mistake is reported at once
            loaded = cls.from_pretrained(
                folder, config, device, compute_type, backend, prepack, shortlist, source_lang, target_lang, protect,
                None, ensemble_mean,
            )  # fmt: skip
            return loaded.with_glossary(glossary)
        folder, *others = find_models(folder, source_lang, target_lang)
        config = config or read_decode_config(folder)
        about = read_about(folder)
        tokenizer = open_translation_tokenizer(folder / "tokenizer.model", about.get("normalize_unicode") is not False)
        languages = choose_direction(folder, model_directions(about) or [DEFAULT], source_lang, target_lang)
        directions = model_directions(about) if has_tags(about) else ()
        calibration = read_calibration(folder, tokenizer.vocab_size)
        match backend:
            case "torch":
                pytorch = PyTorchBackend.from_pretrained(
                    folder, device, compute_type, prepack, shortlist, others, ensemble_mean
                )
                check_vocab_size(folder, tokenizer.vocab_size, pytorch.model.config.vocab_size)
                return cls(pytorch, tokenizer, config, *languages, calibration, protect, directions)
            case "ctranslate2" if others:
                raise InputError("an ensemble needs the backend torch. Omit --backend, or give --model once.")
            case "ctranslate2" if shortlist is not None:
                raise InputError("a shortlist needs the backend torch. Omit --backend or --shortlist.")
            case "ctranslate2":
                name = None if device is None else str(device)
                ctranslate2 = CTranslate2Backend.from_pretrained(
                    folder, name, "float32" if compute_type == "auto" else compute_type
                )
                return cls(ctranslate2, tokenizer, config, *languages, calibration, protect, directions)
            case _:
                raise InputError(f"backend is {backend!r}; it must be one of {', '.join(BACKENDS)}")

    @property
    def max_len(self) -> int:
        """Largest number of tokens in a line and in its translation, EOS included."""
        return self.backend.max_len

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.backend.device

    @property
    def compute_type(self) -> str:
        """Number format of the model's computations, such as float32."""
        return self.backend.compute_type

    def __call__(self, lines: Iterable[str]) -> list[str]:
        """Return the best translation of each line, in order; "" for an empty line. See `translate`."""
        return [translations[0].text for translations in self.translate(lines)]

    def translate(
        self,
        lines: Iterable[str],
        n_best: int = 1,
        progress: bool = False,
        prefixes: Iterable[str] | None = None,
        note: Note = warnings.warn,
    ) -> list[list[Translation]]:
        """Return up to `n_best` translations of each line, best first; exactly one, `EMPTY`, for an empty line.

        The sentences of a line are translated one by one (`DecodeConfig.split_sentences`). A sentence that is too long
        for the model is split further. A line without a letter is copied (`DecodeConfig.translate_symbols`). With
        prefixes, each line is translated as a whole, and nothing in it is protected.

        Args:
            lines: any iterable of strings. Each item is one line; a line break inside it counts as a space.
            n_best: at most `config.beam`.
            progress: show a progress bar on standard error.
            prefixes: text that begins the translations of each line, scored by the model; "" means no prefix. The
                prefix of a line that is empty or copied is ignored.
            note: called with a sentence for each kind of lines that were translated in another way than expected: with
                more tokens than the model supports, in the target language, with lost characters or numbers, changed
                to one Unicode form (`data.normalize_unicode`).

        Raises:
            InputError: the arguments are invalid. All are checked before the first line is translated.
            LineTooLong: with prefixes, a line is longer than the model supports.
        """
        return self._translate_lines(lines, n_best, None, progress, prefixes, note)

    def sample(
        self,
        lines: Iterable[str],
        config: SampleConfig | None = None,
        progress: bool = False,
        prefixes: Iterable[str] | None = None,
        note: Note = warnings.warn,
    ) -> list[list[Translation]]:
        """Return `config.num_samples` random translations of each line; exactly one for a line that is not translated.

        They are in the order of drawing. The same seed gives a line the same samples; other lines change them by
        rounding only. `score` and `log_prob` mean the same as in `translate`, and `DecodeConfig` limits the lengths.
        Splits and copies lines, protects text, and raises errors, as `translate`. A sample that loses protected text is
        dropped, so a line can have fewer samples.
        """
        return self._translate_lines(lines, 1, config or SampleConfig(), progress, prefixes, note)

    def segmenter(self, documents: bool = False, protect: bool = False) -> Segmenter:
        """Return what splits lines by the settings and the limit of this translator. See `Segmenter`."""
        return Segmenter(
            self.tokenizer,
            self.max_len,
            self.source_lang,
            sentences=self.config.split_sentences,
            symbols=self.config.translate_symbols,
            documents=documents,
            protect=protect,
        )

    def decode_whole_lines(
        self, decode: Decode, lines: Iterable[str], prefixes: Iterable[str] | None = None, first_line: int = 1
    ) -> list[list[Translation]]:
        """Return the translations of lines that are not split. `decode` gets no ids for a line that is copied.

        Raises InputError or LineTooLong. `first_line` is the number of the first line in their messages.
        """
        lines = string_list(lines, first_line=first_line)
        encoded = self.encode(lines, first_line)
        chosen = [is_translated(line, self.config.translate_symbols) for line in lines]
        sources = [ids if translated else [] for ids, translated in zip(encoded, chosen, strict=True)]
        found = decode(sources, self.encode_prefixes(prefixes), self.find_terms(lines))
        return [best if ids else [copy_line(line)] for ids, best, line in zip(sources, found, lines, strict=True)]

    def _translate_lines(
        self,
        lines: Iterable[str],
        n_best: int,
        sampling: SampleConfig | None,
        progress: bool,
        prefixes: Iterable[str] | None,
        note: Note,
    ) -> list[list[Translation]]:
        lines = string_list(lines)
        segmenter = self.segmenter(protect=self.protect)
        if prefixes is None:
            return self._translate_masked(list(map(segmenter.mask, lines)), segmenter, n_best, sampling, progress, note)

        def decode(
            sources: list[list[int]], beginnings: list[list[int]] | None, terms: list[list[Term]]
        ) -> list[list[Translation]]:
            return self.decode_ids(sources, n_best, sampling, progress, beginnings, terms)

        self._note_source(lines, note)
        translated = self.decode_whole_lines(decode, lines, prefixes)
        self._note_lost(lines, translated, note)
        return translated

    def translate_masked(
        self, texts: list[MaskedText], note: Note = warnings.warn, progress: bool = False
    ) -> list[str]:
        """Return the best translation of each masked text, with the white space at both ends. See `translate`."""
        segmenter = self.segmenter(documents=True)
        return [found[0].text for found in self._translate_masked(texts, segmenter, 1, None, progress, note)]

    def _translate_masked(
        self,
        lines: list[MaskedText],
        segmenter: Segmenter,
        n_best: int,
        sampling: SampleConfig | None,
        progress: bool,
        note: Note,
    ) -> list[list[Translation]]:
        visible = [line.visible for line in lines]
        self._note_source(visible, note)
        split = segmenter.split_masked(lines)
        if message := too_long_note(split, self.max_len):
            note(message)
        translated = self.translate_split(split, n_best, sampling, progress)
        self._note_lost(visible, translated, note)
        return translated

    def _note_source(self, lines: list[str], note: Note) -> None:
        changed, unknown = changed_note(self.changed_lines(lines)), unknown_note(self.unknown_lines(lines))
        for message in (changed, unknown, foreign_note(self.foreign_lines(lines), self.target_lang)):
            if message:
                note(message)

    def _note_lost(self, lines: list[str], translated: list[list[Translation]], note: Note) -> None:
        lost = [self.lost_characters(line, found[0].text) for line, found in zip(lines, translated, strict=True)]
        numbers = [number for number, characters in enumerate(lost, 1) if characters and self.tokenizer.encodes_all]
        if message := lost_note(numbers):  # `unknown_note` names the others
            note(message)
        missing = [lost_numbers(line, found[0].text) for line, found in zip(lines, translated, strict=True)]
        if message := numbers_note([number for number, found in enumerate(missing, 1) if found]):
            note(message)
        terms = [self.glossary.lost(line, found[0].text) for line, found in zip(lines, translated, strict=True)]
        if message := terms_note([number for number, found in enumerate(terms, 1) if found]):
            note(message)

    def translate_split(
        self,
        split: Sequence[SegmentedLine],
        n_best: int = 1,
        sampling: SampleConfig | None = None,
        progress: bool = False,
    ) -> list[list[Translation]]:
        """Return the translations of lines that a segmenter has split, in order. `sampling` None: search for them."""

        def translate(texts: list[str]) -> list[list[Translation]]:
            found = self.decode_ids(self.encode(texts), n_best, sampling, progress)
            return self._add_terms(texts, found, n_best, n_best) if self.glossary.pairs else found

        def translate_more(texts: list[str]) -> list[list[Translation]]:
            encoded = self.tokenizer.encode(texts)
            fitting = [ids if len(ids) <= self.max_len else [] for ids in encoded]
            found = self.decode_ids(fitting, self.config.beam, sampling)
            return self._add_terms(texts, found, self.config.beam, 1) if self.glossary.pairs else found

        wanted = n_best if sampling is None else sampling.num_samples
        masked = [segment for line in split for segment in line.masked_segments]
        attention = self._align if "attention" in self.backend.supports else None
        numbers = self.protect and sampling is None
        found = translate_all(masked, translate, translate_more, attention, wanted, numbers, self.glossary)
        return translate_segments(split, lambda _: found)

    def _add_terms(
        self, texts: list[str], found: list[list[Translation]], n_best: int, least: int
    ) -> list[list[Translation]]:
        """Return translations with the terms of their texts: those of `found` that have them, if there are `least`.

        Otherwise the text is translated again, with the target terms that its best translation lacks instead of their
        source terms, and a search that enforces all terms. If it is then too long for the model, its source terms stay.
        """
        lost = self.glossary.lost
        found = list(found)
        again: dict[int, list[int]] = {}
        encoded = self.tokenizer.encode(
            [self.glossary.replace(text, lost(text, best[0].text)) for text, best in zip(texts, found, strict=True)]
        )
        for index, (text, ids) in enumerate(zip(texts, encoded, strict=True)):
            complete = [t for t in found[index] if not lost(text, t.text)]
            if len(complete) < min(least, len(found[index])) and found[index] != [EMPTY]:
                again[index] = ids if len(ids) <= self.max_len else self.tokenizer.encode([text])[0]
            else:
                found[index] = complete
        if again:
            terms = self.find_terms(texts[index] for index in again)
            more = self.ids.translate(list(again.values()), n_best, terms=terms, word_ends=self._word_ends)
            found = [dict(zip(again, more, strict=True)).get(index, old) for index, old in enumerate(found)]
        return found

    def _align(self, pairs: list[tuple[str, Translation]]) -> list[Weights | None]:
        """Return the weights of each pair of a source and its translation; see `align`."""
        encoded = self.encode(source for source, _ in pairs)
        found = map_batches(
            self.backend.cross_attention,
            [IdPair(tuple(ids), t.tokens) for ids, (_, t) in zip(encoded, pairs, strict=True)],
            fits_forced(self.config.batch_tokens, self.tokenizer.vocab_size),
            lambda pair: len(pair.target),
            skip=lambda pair: not pair.target,
            skipped=torch.empty(1, 1, 0, 0),
            progress=False,
        )
        tag = len(self.tokenizer.tag)  # no word of the source
        return [
            align(self.tokenizer.pieces, (source, ids[tag:]), (t.text, t.tokens), weights[..., tag:])
            for ids, (source, t), weights in zip(encoded, pairs, found, strict=True)
        ]

    def decode_ids(
        self,
        sources: list[list[int]],
        n_best: int = 1,
        sampling: SampleConfig | None = None,
        progress: bool = False,
        prefixes: list[list[int]] | None = None,
        terms: list[list[Term]] | None = None,
    ) -> list[list[Translation]]:
        """Sample translations of encoded lines, or search for them if `sampling` is None."""
        if sampling is None:
            return self.ids.translate(sources, n_best, progress, prefixes, terms, self._word_ends if terms else None)
        if self.glossary.pairs:
            raise InputError("samples cannot contain the terms of a glossary. Omit the glossary, or do not sample.")
        return self.ids.sample(sources, sampling, progress, prefixes)

    def changed_lines(self, lines: list[str], first_line: int = 1) -> list[int]:
        """Return the numbers of the lines that are changed to one Unicode form before they are translated."""
        if not self.tokenizer.normalize_unicode:
            return []
        translated = (line if is_translated(line, self.config.translate_symbols) else "" for line in lines)
        return changed_lines(translated, first_line)

    def unknown_lines(self, lines: list[str], first_line: int = 1) -> list[int]:
        """Return the numbers of the translated lines with characters that the vocabulary does not have."""
        if self.tokenizer.encodes_all:
            return []
        encoded = self.tokenizer.encode([one_line(line) for line in lines])
        return [
            number
            for number, (line, ids) in enumerate(zip(lines, encoded, strict=True), first_line)
            if UNK_ID in ids and is_translated(line, self.config.translate_symbols)
        ]

    def foreign_lines(self, lines: list[str], first_line: int = 1) -> list[int]:
        """Return the numbers of the lines that are surely in the target language; none without a calibration."""
        if self.calibration is None:
            return []
        encoded = self.tokenizer.encode([common_words(line) for line in lines])
        return [n for n, ids in enumerate(encoded, first_line) if self.calibration.is_target_language(ids)]

    def lost_characters(self, line: str, translation: str) -> list[str]:
        """Return the characters of a line that no piece of the vocabulary contains and the translation lacks.

        & is not among them, because its translation is a word.
        """
        line = self.tokenizer.normalize(one_line(line)).replace("&", "")
        return [c for c in dict.fromkeys(line) if not (c.isspace() or c in self._alphabet or c in translation)]

    @cached_property
    def _alphabet(self) -> frozenset[str]:
        return frozenset("".join(self.tokenizer.pieces))

    def encode(self, lines: Iterable[str], first_line: int = 1) -> list[list[int]]:
        """Return the ids of each line with EOS, [] for an empty line.

        Raises InputError or LineTooLong. `first_line` is the number of the first line in their messages.
        """
        return self._encode(self.tokenizer.encode, lines, first_line)

    def encode_target(self, lines: Iterable[str]) -> list[list[int]]:
        """Return the ids of each translation with EOS, [] for an empty one. Raises as `encode`."""
        return self._encode(self.tokenizer.encode_target, lines, 1)

    def _encode(
        self, encode: Callable[[list[str]], list[list[int]]], lines: Iterable[str], first_line: int
    ) -> list[list[int]]:
        texts = [one_line(line) for line in string_list(lines, first_line=first_line)]
        encoded = [[] if ids == [EOS_ID] else ids for ids in encode(texts)]
        for index, ids in enumerate(encoded):
            if len(ids) > self.max_len:
                raise LineTooLong(
                    f"line {first_line + index} has {len(ids)} tokens; the model supports {self.max_len}. "
                    "Split it into sentences.",
                    index,
                )
        return encoded

    def encode_prefixes(self, prefixes: Iterable[str] | None) -> list[list[int]] | None:
        """Return the ids of each prefix, without EOS, for `decode_ids`."""
        if prefixes is None:
            return None
        texts = list(map(one_line, string_list(prefixes, "prefixes")))
        return [ids[:-1] for ids in self.tokenizer.encode_target(texts)]
