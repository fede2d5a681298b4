"""Token ids to translations: batches of sentences of similar length, limits of the output, search or samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.errors import InputError
from common.text import one_line
from data_pipeline.tokenizers import TranslationTokenizer
from evaluate.backends import Backend
from evaluate.confidence import Calibration
from evaluate.config import DecodeConfig, Feature, SampleConfig
from evaluate.decoding.search import Hypothesis
from evaluate.decoding.terms import MAX_BANKS, Term, WordEnds
from evaluate.decoding.trees import TreeTokens
from evaluate.length_batches import IdPair, map_batches
from evaluate.translation import EMPTY, LineTooLong, Translation


@dataclass(frozen=True)
class IdTranslator:
    """Translates encoded sentences. Their order does not change the results, other sentences by rounding only."""

    backend: Backend
    tokenizer: TranslationTokenizer
    config: DecodeConfig
    calibration: Calibration | None = None

    @property
    def max_len(self) -> int:
        """Largest number of tokens in a source and in its translation, EOS included."""
        return self.backend.max_len

    def translate(
        self,
        sources: list[list[int]],
        n_best: int = 1,
        progress: bool = False,
        prefixes: list[list[int]] | None = None,
        terms: list[list[Term]] | None = None,
        word_ends: WordEnds | None = None,
    ) -> list[list[Translation]]:
        """Return up to `n_best` translations of each source, best first; only `EMPTY` for a source without ids.

        Args:
            sources: ids of each sentence with EOS, at most `max_len`.
            n_best: at most `config.beam`.
            progress: show a progress bar on standard error.
            prefixes: ids that begin the translations of each source.
            terms: terms that the translations of each source contain.
            word_ends: where words begin and end in the vocabulary; needed if there are terms.

        Raises InputError if the arguments are invalid.
        """
        self.check_n_best(n_best)

        def search(batch: list[IdPair], limits: list[int]) -> list[list[Hypothesis]]:
            if not any(pair.terms for pair in batch):
                return self.backend.search(batch, limits, self.config, n_best)
            return self.backend.search(batch, limits, self.config, n_best, word_ends)

        return self._decode(search, self._pairs(sources, prefixes, terms), n_best, self.config.beam, progress)

    def find_trees(
        self,
        sources: list[list[int]],
        words: Sequence[int],
        trees: TreeTokens,
        progress: bool = False,
        first_line: int = 1,
    ) -> list[Translation]:
        """Return the best tree of each source; its text has the tokens of the tree.

        Args:
            words: number of words of each sentence, for each of which the tree has a leaf.
            trees: the tokens of trees.
            first_line: number of the first source in messages.

        Raises InputError if the backend does not support trees, or LineTooLong if a tree does not fit the model.
        """
        self.require("trees")
        pairs = [
            IdPair(tuple(ids), leaves=count, least=trees.least_length(count))
            for ids, count in zip(sources, words, strict=True)
        ]
        for index, pair in enumerate(pairs):
            if pair.least_output > self._largest_output:
                raise LineTooLong(
                    f"line {first_line + index} has {pair.leaves} words; its tree needs {pair.least_output} tokens, "
                    f"but an output has at most {self._largest_output}. Divide the sentence.",
                    index,
                )

        def search(batch: list[IdPair], limits: list[int]) -> list[list[Hypothesis]]:
            return self.backend.search(batch, limits, self.config, 1, trees)

        return [best for (best,) in self._decode(search, pairs, 1, self.config.beam, progress)]

    def sample(
        self,
        sources: list[list[int]],
        config: SampleConfig | None = None,
        progress: bool = False,
        prefixes: list[list[int]] | None = None,
    ) -> list[list[Translation]]:
        """Return `config.num_samples` random translations of each source, in the order of drawing. See `translate`."""
        self.require("sampling")
        sampling = config or SampleConfig()
        return self._decode(
            lambda batch, limits: self.backend.sample(batch, limits, self.config, sampling),
            self._pairs(sources, prefixes),
            sampling.num_samples,
            sampling.num_samples,
            progress,
        )

    def check_n_best(self, n_best: int) -> None:
        """Raise InputError unless the beam finds `n_best` translations."""
        if not 1 <= n_best <= self.config.beam:
            raise InputError(
                f"n_best (--n-best) is {n_best}; it must be from 1 to the beam, which is {self.config.beam} "
                "(decode.beam, --beam)"
            )

    def require(self, feature: Feature) -> None:
        """Raise InputError if the backend does not support `feature`."""
        if feature not in self.backend.supports:
            raise InputError(f"the backend {self.backend.name} does not support {feature}. Use the backend torch.")

    def _pairs(
        self, sources: list[list[int]], prefixes: list[list[int]] | None, terms: list[list[Term]] | None = None
    ) -> list[IdPair]:
        """Join each source with its prefix and its terms. Raise InputError if no output can have what it must."""
        pairs = self._pairs_with_prefixes(sources, prefixes)
        if not terms or not any(terms):
            return pairs
        pairs = [pair._replace(terms=tuple(found)) for pair, found in zip(pairs, terms, strict=True)]
        if (most := max(pair.least_output for pair in pairs)) > self._largest_output:
            raise InputError(
                f"the glossary's terms of a sentence need {most} tokens, but an output has at most "
                f"{self._largest_output}. Use fewer or shorter terms."
            )
        return pairs

    def _pairs_with_prefixes(self, sources: list[list[int]], prefixes: list[list[int]] | None) -> list[IdPair]:
        limit = self._largest_output
        if self.config.min_length > limit:
            raise InputError(f"decode.min_length is {self.config.min_length}; outputs have at most {limit} tokens")
        if prefixes is None:
            return [IdPair(tuple(ids)) for ids in sources]
        self.require("prefix")
        if len(prefixes) != len(sources):
            raise InputError(f"there are {len(sources)} lines but {len(prefixes)} prefixes. Give each line its prefix.")
        for number, prefix in enumerate(prefixes, 1):
            if len(prefix) >= limit:
                raise InputError(
                    f"prefix {number} has {len(prefix)} tokens; an output of at most {limit} tokens must be longer"
                )
        return [IdPair(tuple(ids), tuple(prefix)) for ids, prefix in zip(sources, prefixes, strict=True)]

    def _decode(
        self,
        decode: Callable[[list[IdPair], list[int]], list[list[Hypothesis]]],
        pairs: list[IdPair],
        wanted: int,
        rows: int,
        progress: bool,
    ) -> list[list[Translation]]:
        """Return the first `wanted` translations of each pair; the decoder has `rows` rows per sentence."""

        def compute(batch: list[IdPair]) -> list[list[Translation]]:
            found = decode(batch, [self._output_length(pair) for pair in batch])
            return self._translations(batch, [hypotheses[:wanted] for hypotheses in found])

        def fits(sentences: int, source_tokens: int, output_tokens: int) -> bool:
            return sentences * rows * (source_tokens + output_tokens) <= self.config.batch_tokens

        def decode_all(wanted: Callable[[IdPair], bool]) -> list[list[Translation]]:
            return map_batches(
                compute,
                pairs,
                fits,
                self._output_length,
                skip=lambda pair: not (pair.source and wanted(pair)),
                skipped=[EMPTY],
                progress=progress,
            )

        results = decode_all(lambda pair: not pair.terms)
        if any(pair.terms for pair in pairs):  # in batches of their own, because they have more hypotheses
            rows += MAX_BANKS
            with_terms = decode_all(lambda pair: bool(pair.terms))
            results = [t if pair.terms else r for pair, r, t in zip(pairs, results, with_terms, strict=True)]
        return [list(translations) for translations in results]

    @property
    def _largest_output(self) -> int:
        return min(self.config.max_length or self.max_len, self.max_len)

    def _output_length(self, pair: IdPair) -> int:
        """Return the largest number of tokens in the output of a pair, EOS included."""
        wished = max(len(pair.source) + self.config.max_extra, self.config.min_length, pair.least_output)
        return min(wished, self._largest_output)

    def _translations(self, batch: list[IdPair], found: list[list[Hypothesis]]) -> list[list[Translation]]:
        decoded = self.tokenizer.decode([list(h.tokens) for hypotheses in found for h in hypotheses])
        texts = map(one_line, decoded)  # byte pieces of the vocabulary can spell a line break
        return [
            [Translation(next(texts), h.score, h.log_prob, h.tokens, self._confidence(pair, h)) for h in hypotheses]
            for pair, hypotheses in zip(batch, found, strict=True)
        ]

    def _confidence(self, pair: IdPair, found: Hypothesis) -> float | None:
        if self.calibration is None:
            return None
        return self.calibration.confidence(pair.source, found.tokens, found.log_prob)
