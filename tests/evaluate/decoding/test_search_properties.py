"""Properties of the search for all settings. The library hypothesis searches for a counterexample."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.config import DecodeConfig, LengthPenalty, SampleConfig
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.sampling import random_numbers, sample_outputs
from evaluate.decoding.search import Hypothesis, beam_search
from evaluate.scorer import Scorer
from evaluate.translator import Translator
from tests.tiny_model import TEXT, load_translator, make_folder
from tests.toy_decoder import BOS, EOS, Table, all_outputs, forced_log_prob

few = settings(max_examples=40, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Case:
    """A search for one batch of sentences."""

    seed: int
    words: int
    max_lens: list[int]
    prefixes: list[list[int]]
    min_len: int
    kind: LengthPenalty
    alpha: float
    eos_bias: float

    @property
    def sentences(self) -> list[int]:
        return list(range(len(self.max_lens)))

    def model(self, sentences: list[int]) -> Table:
        return Table(sentences, self.words + 2, self.seed, self.eos_bias)

    def search(self, beam: int, n_best: int = 1, sentences: list[int] | None = None) -> list[list[Hypothesis]]:
        """Search some sentences in this order; None means all."""
        chosen = self.sentences if sentences is None else sentences
        model = self.model(chosen)
        return beam_search(
            model.step,
            model,
            torch.tensor([self.max_lens[s] for s in chosen]),
            Constraints(EOS, [BOS], self.min_len, [self.prefixes[s] for s in chosen]),
            bos_id=BOS,
            beam=beam,
            alpha=self.alpha,
            penalty=self.kind,
            n_best=n_best,
        )


@st.composite
def cases(draw: st.DrawFn, longest: int, most: int) -> Case:
    """Draw up to `most` sentences whose outputs have up to `longest` tokens."""
    words = draw(st.integers(1, 3))
    max_lens = draw(st.lists(st.integers(1, longest), min_size=1, max_size=most))
    word = st.integers(2, words + 1)
    return Case(
        seed=draw(st.integers(0, 10**6)),
        words=words,
        max_lens=max_lens,
        prefixes=[draw(st.lists(word, max_size=min(3, max_len - 1))) for max_len in max_lens],
        min_len=draw(st.integers(1, min(max_lens))),
        kind=draw(st.sampled_from(["gnmt", "length", "none"])),
        alpha=draw(st.sampled_from([0.0, 0.3, 0.6, 1.0, 2.0])),
        eos_bias=draw(st.sampled_from([-2.0, 0.0, 2.0])),
    )


@few
@given(cases(longest=4, most=2), st.integers(1, 5))
def test_beam_search_with_full_beam_equals_enumeration(case: Case, n_best: int) -> None:
    beam = max(2, n_best, case.words**4)  # 1 would be greedy search
    for sentence, found in enumerate(case.search(beam, n_best)):
        best = all_outputs(
            case.model([sentence]),
            sentence,
            case.max_lens[sentence],
            case.alpha,
            case.kind,
            case.min_len,
            case.prefixes[sentence],
        )[:n_best]
        assert [h.tokens for h in found[:n_best]] == [h.tokens for h in best]
        assert [h.score for h in found[:n_best]] == pytest.approx([h.score for h in best], abs=1e-12)


@few
@given(cases(longest=8, most=5), st.integers(1, 4), st.randoms(use_true_random=False))
def test_beam_search_does_not_depend_on_batch_or_order(case: Case, beam: int, random: object) -> None:
    order = list(case.sentences)
    random.shuffle(order)  # type: ignore[attr-defined]
    together = case.search(beam, n_best=beam, sentences=order)
    for place, sentence in enumerate(order):
        assert together[place] == case.search(beam, n_best=beam, sentences=[sentence])[0]


@few
@given(cases(longest=10, most=3), st.integers(1, 4))
def test_hypotheses_obey_constraints_and_equal_forced_decoding(case: Case, beam: int) -> None:
    for sentence, found in enumerate(case.search(beam, n_best=beam)):
        prefix = tuple(case.prefixes[sentence])
        for h in found:
            assert h.tokens[: len(prefix)] == prefix
            assert EOS not in h.tokens[:-1]
            assert len(h.tokens) <= case.max_lens[sentence]
            assert len(h.tokens) >= case.min_len
            log_prob = forced_log_prob(case.model([sentence]), sentence, h.tokens)
            assert h.log_prob == pytest.approx(log_prob, abs=1e-10)
            penalty = {"gnmt": (5 + len(h.tokens)) / 6, "length": len(h.tokens), "none": 1}[case.kind]
            assert h.score == pytest.approx(log_prob / penalty**case.alpha, abs=1e-10)


@few
@given(cases(longest=12, most=3), st.integers(2, 6))
def test_beam_search_early_stop_keeps_n_best(case: Case, beam: int) -> None:
    """With n_best = beam the search continues long after the point where n_best = 1 can stop."""
    early, late = case.search(beam, n_best=1), case.search(beam, n_best=beam)
    assert [found[0] for found in early] == [found[0] for found in late]


@few
@given(cases(longest=12, most=3))
def test_beam_of_1_and_sampling_at_temperature_zero_are_greedy(case: Case) -> None:
    model = case.model(case.sentences)
    constraints = Constraints(EOS, [BOS], case.min_len, case.prefixes)
    drawn = sample_outputs(
        model.step,
        model,
        torch.tensor(case.max_lens),
        constraints,
        bos_id=BOS,
        config=SampleConfig(temperature=0),
        draws=[random_numbers(1, 0, [s]) for s in case.sentences],
    )
    for sentence, (found, (tokens, log_prob)) in enumerate(zip(case.search(beam=1), drawn, strict=True)):
        expected = tuple(case.prefixes[sentence])
        while len(expected) < case.max_lens[sentence] and EOS not in expected:
            allowed = range(2 if len(expected) + 1 < case.min_len else 1, case.words + 2)
            expected = (*expected, max(allowed, key=model.logits(sentence, (BOS, *expected)).__getitem__))
        assert found[0].tokens == tokens == expected
        assert found[0].log_prob == pytest.approx(log_prob, abs=1e-10)


@few
@given(cases(longest=8, most=4), st.integers(0, 9), st.floats(0.3, 2.0), st.sampled_from([None, 2]))
def test_sample_outputs_depends_only_on_own_numbers(
    case: Case, seed: int, temperature: float, top_k: int | None
) -> None:
    def sample(sentences: list[int]) -> list[tuple[tuple[int, ...], float]]:
        model = case.model(sentences)
        return sample_outputs(
            model.step,
            model,
            torch.tensor([case.max_lens[s] for s in sentences]),
            Constraints(EOS, [BOS], case.min_len, [case.prefixes[s] for s in sentences]),
            bos_id=BOS,
            config=SampleConfig(temperature=temperature, top_k=top_k),
            draws=[random_numbers(seed, 0, [s]) for s in sentences],
        )

    together = sample(case.sentences[::-1])[::-1]
    for sentence, (tokens, log_prob) in enumerate(together):
        assert sample([sentence])[0] == (tokens, log_prob)
        assert list(tokens[: len(case.prefixes[sentence])]) == case.prefixes[sentence]
        assert case.min_len <= len(tokens) <= case.max_lens[sentence]
        assert log_prob == pytest.approx(forced_log_prob(case.model([sentence]), sentence, tokens), abs=1e-10)


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory) -> dict[torch.dtype, Translator]:
    folder: Path = make_folder(tmp_path_factory.mktemp("model"))
    config = DecodeConfig(beam=3, max_extra=4)
    made = {}
    for dtype in (torch.float64, torch.float32):
        made[dtype], model = load_translator(folder, config, dtype)
        with torch.no_grad():  # makes EOS likely, so that sentences end in different steps
            model.output.weight[3] += 0.3 * model.output.weight[4:].std()
    return made


lines_of_any_length = st.lists(st.lists(st.sampled_from(" ".join(TEXT).split()), max_size=6).map(" ".join), max_size=8)


@settings(few, max_examples=15)
@given(lines_of_any_length, st.integers(1, 1000), st.sampled_from(["gnmt", "length", "none"]), st.randoms())
def test_translator_in_float64_does_not_depend_on_batch_or_order(
    translators: dict[torch.dtype, Translator],
    lines: list[str],
    batch_tokens: int,
    kind: LengthPenalty,
    random: object,
) -> None:
    translator = translators[torch.float64]
    config = DecodeConfig(beam=3, max_extra=4, length_penalty=kind)
    order = list(range(len(lines)))
    random.shuffle(order)  # type: ignore[attr-defined]
    translator.config = config
    together = translator.translate([lines[i] for i in order], n_best=3)
    translator.config = replace(config, batch_tokens=batch_tokens)
    again = translator.translate(lines, n_best=3)
    for place, i in enumerate(order):
        assert [t.tokens for t in together[place]] == [t.tokens for t in again[i]]


@settings(few, max_examples=15)
@given(lines_of_any_length, st.sampled_from([torch.float64, torch.float32]), st.booleans())
def test_translator_log_probs_equal_forced_decoding(
    translators: dict[torch.dtype, Translator], lines: list[str], dtype: torch.dtype, sampled: bool
) -> None:
    translator = translators[dtype]
    sources = translator.encode(lines)
    draw = SampleConfig(num_samples=3)
    outputs = translator.ids.sample(sources, draw) if sampled else translator.ids.translate(sources, n_best=3)
    pairs = [(source, t) for source, found in zip(sources, outputs, strict=True) for t in found]
    scores = Scorer(translator).score_ids([source for source, _ in pairs], [t.tokens for _, t in pairs])
    for score, (_, t) in zip(scores, pairs, strict=True):
        assert score.tokens == t.tokens
        assert score.log_prob == pytest.approx(t.log_prob, abs=1e-5 if dtype == torch.float32 else 1e-10)
