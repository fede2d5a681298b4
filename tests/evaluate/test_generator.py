"""The generator: text equals its definition, in any batch, at once or as a stream."""

import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from data_pipeline.tokenizers import TextTokenizer
from data_pipeline.tokenizers.characters import CharTokenizer
from data_pipeline.tokenizers.sentence_piece import train_tokenizer
from evaluate import continuation
from evaluate.config import SampleConfig
from evaluate.continuation import new_continuation
from evaluate.decoding.sampling import sample
from evaluate.generator import Generator
from evaluate.text_stream import TextStream
from tests import tiny_model
from tests.tiny_gpt import TEXT, make_folder, make_model
from transformer.prepacked import PrepackedLinear, can_prepack

CONTEXT = 32
PROMPTS = ["The", "E", "cat sees", "Hund", "E", "\n", TEXT[:CONTEXT]]
GREEDY = SampleConfig(temperature=0, max_tokens=25)
SAMPLED = SampleConfig(temperature=1.3, top_k=20, top_p=0.95, seed=3, max_tokens=25)


class Bytes:
    """A vocabulary of the 256 bytes, and a token that ends a document."""

    vocab_size, end_id, document_start = 257, 256, 256

    def encode_text(self, text: str, continues_line: bool = False) -> list[int]:
        return list(text.encode())

    def decode_text(self, ids: list[int]) -> str:
        return bytes(i for i in ids if i < 256).decode(errors="replace")

    def save(self, folder: Path | str) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"), CONTEXT)


@pytest.fixture
def generator(folder: Path) -> Generator:
    """Return a generator in float64, in which other texts of a batch change no token."""
    generator = Generator.from_pretrained(folder, "cpu", prepack=False)
    generator.model.double()
    return generator


def by_definition(generator: Generator, prompt: str, config: SampleConfig, number: int = 0) -> str:
    """Generate each token with a forward pass over the whole context, without cache and batch."""
    ids = generator.tokenizer.encode_text(prompt)
    draws, start, first = new_continuation(ids, config.seed, number).draws, len(ids), 0
    for _ in range(config.max_tokens):
        if len(ids) - first > CONTEXT:
            first = len(ids) - CONTEXT // 2
        with torch.inference_mode():
            logits_NV = generator.model(torch.tensor([ids[first:]]))[:, -1]
        uniform_N = torch.tensor([draws.random()], dtype=torch.float64)
        ids.append(
            int(sample(logits_NV, config.temperature, config.top_k, config.top_p, uniform_N=uniform_N))
            if config.temperature
            else int(logits_NV.argmax())
        )
    return generator.tokenizer.decode_text(ids[start:])


def silent(message: str) -> None:
    """Ignore a note."""


@pytest.mark.parametrize("config", [GREEDY, SAMPLED])
@pytest.mark.parametrize("max_tokens", [1, 15, 80])  # 80: longer than several contexts of 32
@pytest.mark.parametrize("prompt", ["T", "cat sees", TEXT[:CONTEXT]])
def test_generate_with_cache_equals_generate_without_cache(
    generator: Generator, prompt: str, max_tokens: int, config: SampleConfig
) -> None:
    config = replace(config, max_tokens=max_tokens)
    assert generator.generate([prompt], config, silent) == [[by_definition(generator, prompt, config)]]


@pytest.mark.parametrize("config", [GREEDY, SAMPLED, replace(SAMPLED, num_samples=3), replace(SAMPLED, max_tokens=70)])
def test_generate_does_not_depend_on_batch(generator: Generator, config: SampleConfig) -> None:
    together = generator.generate(PROMPTS, config, silent)
    assert together == [generator.generate([prompt], config, silent)[0] for prompt in PROMPTS]


def test_generate_does_not_depend_on_order(generator: Generator) -> None:
    order = random.Random(1).sample(range(len(PROMPTS)), len(PROMPTS))
    given = generator.generate(PROMPTS, SAMPLED, silent)
    assert generator.generate([PROMPTS[i] for i in order], SAMPLED, silent) == [given[i] for i in order]


@pytest.mark.parametrize("positions", [1, 70])
def test_generate_does_not_depend_on_batch_positions(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, positions: int
) -> None:
    config = replace(SAMPLED, num_samples=3)
    expected = generator.generate(PROMPTS, config, silent)
    monkeypatch.setattr(continuation, "BATCH_POSITIONS", positions)
    assert generator.generate(PROMPTS, config, silent) == expected


def test_prompt_batches_limit_positions_and_prompt_lengths() -> None:
    rows = [new_continuation([0] * length, seed=1, number=0) for length in [1, 1, 1, 40, 2, 30, 100, 101] + [90] * 1000]
    found = [[row.start for row in batch] for batch in continuation.prompt_batches(rows, max_tokens=10, context=4096)]
    most = continuation.BATCH_POSITIONS // 100
    sizes = [most] * (1000 // most) + [1000 % most]
    assert [len(batch) for batch in found] == [4, 2, *sizes[:-1], sizes[-1] + 1, 1]
    assert [start for batch in found for start in batch] == sorted(row.start for row in rows)


def test_samples_differ_and_do_not_depend_on_num_samples(generator: Generator) -> None:
    five = generator.generate(["The"], replace(SAMPLED, num_samples=5))[0]
    assert len(set(five)) == 5
    assert generator.generate(["The"], replace(SAMPLED, num_samples=2))[0] == five[:2]
    assert generator.generate(["The"], replace(SAMPLED, num_samples=5, seed=4))[0] != five


def test_longer_sample_begins_with_shorter_sample(generator: Generator) -> None:
    short, long = (generator.generate(["The"], replace(SAMPLED, max_tokens=n), silent)[0][0] for n in (10, 90))
    assert long.startswith(short)
    assert (len(short), len(long)) == (10, 90)


def test_samples_have_model_probabilities(generator: Generator) -> None:
    samples = generator.generate(["The"], SampleConfig(num_samples=2000, max_tokens=1))[0]
    with torch.inference_mode():
        probs_V = generator.model(torch.tensor([generator.tokenizer.encode_text("The")]))[0, -1].softmax(-1)
    tokens_N = torch.tensor(generator.tokenizer.encode_text("".join(samples)))
    shares_V = tokens_N.bincount(minlength=len(probs_V)) / 2000
    torch.testing.assert_close(shares_V.double(), probs_V, atol=0.04, rtol=0)


def test_generate_processes_prompt_once_for_all_samples(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = []
    start = generator.model.start

    def spy(prompt_BL: torch.Tensor, max_len: int) -> object:
        shapes.append(tuple(prompt_BL.shape))
        return start(prompt_BL, max_len)

    monkeypatch.setattr(generator.model, "start", spy)
    generator.generate(["The cat", "cat"], replace(SAMPLED, num_samples=4, max_tokens=5))
    assert shapes == [(2, 3)]


def test_sample_ends_at_end_of_document(generator: Generator, folder: Path) -> None:
    tokenizer, config = CharTokenizer(folder / "tokenizer.model"), replace(SAMPLED, num_samples=8)
    tokenizer.end_id = tokenizer.encode_text("E")[0]
    ending = Generator(generator.model, tokenizer)
    together = ending.generate(["The", "g", None], config)
    lengths = {len(text) for samples in together for text in samples}
    assert len(lengths) > 5
    assert max(lengths) == config.max_tokens
    for prompt, samples in zip(["The", "g", "\n"], together, strict=True):
        endless = generator.generate([prompt], config)[0]
        assert samples == [text.partition("E")[0] for text in endless]


def test_generate_without_prompt_starts_document(generator: Generator) -> None:
    assert generator.generate([None], SAMPLED) == generator.generate(["\n"], SAMPLED)
    generator = Generator(make_model(Bytes.vocab_size), Bytes())
    with torch.inference_mode():
        best = int(generator.model(torch.tensor([[Bytes.end_id]]))[0, -1].argmax())
    assert generator.generate([None], replace(GREEDY, max_tokens=1)) == [[Bytes().decode_text([best])]]


@pytest.mark.parametrize("prompt", [None, "The", "„"])
@pytest.mark.parametrize("config", [GREEDY, SAMPLED, SampleConfig(max_tokens=80)])
def test_stream_equals_first_sample(generator: Generator, prompt: str | None, config: SampleConfig) -> None:
    for one in (generator, Generator(make_model(Bytes.vocab_size), Bytes())):
        expected = one.generate([prompt], replace(config, num_samples=2), silent)[0][0]
        assert "".join(one.stream(prompt, config, silent)) == expected


def test_stream_yields_text_before_next_step(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    step = generator.model.step

    def spy(*args: Any) -> torch.Tensor:
        steps.append(1)
        return step(*args)

    monkeypatch.setattr(generator.model, "step", spy)
    stream = generator.stream("The", SAMPLED)
    for n in (1, 2, 3):
        assert len(next(stream)) == 1
        assert len(steps) == n


def sentencepiece(folder: Path) -> TextTokenizer:
    return train_tokenizer(iter(tiny_model.TEXT), folder / "tokenizer.model", vocab_size=320)


def characters(folder: Path) -> TextTokenizer:
    return CharTokenizer.learn([TEXT], folder / "tokenizer.model")


def own_bytes(folder: Path) -> TextTokenizer:
    return Bytes()


@pytest.mark.parametrize("make", [sentencepiece, characters, own_bytes])
def test_text_stream_returns_complete_text_of_any_tokens(tmp_path: Path, make: Any) -> None:
    tokenizer: TextTokenizer = make(tmp_path)
    chance = random.Random(1)
    texts = ["Haus und\n Hund", "„zwei“  große  Bücher\n\n", " ", "The cat sees\nthe small house."]
    pool = tokenizer.encode_text("The cat\n ") + list(range(tokenizer.vocab_size))
    for _ in range(200):
        context = tokenizer.encode_text(chance.choice(["The cat", "\n", " the "])) if chance.random() < 0.7 else []
        ids = chance.choices(pool, k=chance.randrange(12))
        if make is not characters:
            ids += tokenizer.encode_text(chance.choice(texts))
        stream = TextStream(tokenizer, context)
        pieces = [*(stream.add([token]) for token in ids), stream.end()]
        whole = tokenizer.decode_text(context + ids)
        assert tokenizer.decode_text(context) + "".join(pieces) == whole, (context, ids)


def test_text_stream_holds_incomplete_characters() -> None:
    stream = TextStream(Bytes(), Bytes().encode_text("é"))
    pieces = [stream.add([byte]) for byte in "a😀é".encode() + b"\xf0\x9f"]
    assert pieces == ["a", "", "", "", "😀", "", "é", "", ""]
    assert stream.end() == "\ufffd"


def test_text_stream_returns_invalid_bytes_after_three_tokens() -> None:
    stream = TextStream(Bytes(), [])
    assert "".join(stream.add([0xFF]) for _ in range(10)) == "\ufffd" * 7


def test_generate_rejects_prompt_longer_than_context(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (TEXT * 2)[:CONTEXT]
    assert len(generator.generate([text], replace(SAMPLED, max_tokens=1))[0][0]) == 1
    monkeypatch.setattr(generator.model, "start", None)
    with pytest.raises(ValueError, match=r"prompt 2 has 33 tokens; the model supports 32\. Shorten it"):
        generator.generate(["a", text + "e"], SAMPLED)
    with pytest.raises(ValueError, match="prompt 1 has 33 tokens"):
        generator.stream(text + "e", SAMPLED)  # at the call, not when the first text is requested


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["The", ""], r"prompt 2 is empty\. Omit it"),
        (["The", "x?"], r"the text contains 'x' \(U\+0078\)"),
        (["The", "\udce9"], r"prompt 2 contains '\\udce9', a byte or half of a character that is not UTF-8"),
        ("The", r"`prompts` must be a list of strings, not one string\. Write"),
    ],
)
def test_generate_rejects_invalid_prompts(generator: Generator, prompts: list[str | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator.generate(prompts)


def test_generate_accepts_any_iterable_of_prompts(generator: Generator) -> None:
    prompts = ["The", None, "The cat"]
    expected = generator.generate(prompts, SAMPLED)
    assert generator.generate((prompt for prompt in prompts), SAMPLED) == expected
    assert generator.generate(tuple(prompts), SAMPLED) == expected


def test_generate_returns_empty_list_for_no_prompts(generator: Generator) -> None:
    assert generator.generate([], SAMPLED) == []


def test_generate_notes_text_longer_than_context_once(generator: Generator) -> None:
    notes: list[str] = []
    generator.generate(["The", "The cat"], replace(SAMPLED, max_tokens=100, num_samples=2), notes.append)
    assert len(notes) == 1
    assert "context of 32 tokens" in notes[0]
    assert "its last 16 tokens" in notes[0]
    assert "".join(generator.stream("The", replace(SAMPLED, max_tokens=100), notes.append))
    assert notes[1:] == notes[:1]
    with pytest.warns(UserWarning, match="context of 32 tokens"):
        generator.generate(["The"], replace(SAMPLED, max_tokens=100))


def test_generate_prints_no_note_if_text_fits_context(generator: Generator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator.generate(
            ["The"], replace(SAMPLED, max_tokens=CONTEXT - 3 + 1)
        )  # the last token is not fed to the model


def test_generator_uses_eval_mode_and_restores_train_mode(generator: Generator) -> None:
    expected = generator.generate(PROMPTS, SAMPLED, silent)
    generator.model.train()
    assert generator.generate(PROMPTS, SAMPLED, silent) == expected
    assert "".join(generator.stream("The", SAMPLED)) == expected[0][0]
    assert generator.model.training
    generator.model(torch.tensor([[1, 2, 3]])).sum().backward()  # fails if a weight is an inference tensor


def test_closed_stream_restores_train_mode(generator: Generator) -> None:
    generator.model.train()
    stream = generator.stream("The", SAMPLED)
    assert isinstance(stream, Iterator)
    next(stream)
    assert not torch.is_inference_mode_enabled()
    assert not generator.model.training
    del stream
    assert generator.model.training


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"num_samples": 0},
        {"max_tokens": 0},
    ],
)
def test_sample_config_rejects_settings_out_of_range(settings: dict[str, float]) -> None:
    name = next(iter(settings))
    with pytest.raises(ValueError, match=rf"^{name} is .*must be"):
        SampleConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.skipif(not can_prepack(torch.zeros(1)), reason="no oneDNN for x86 here")
def test_from_pretrained_prepacks_unless_prepack_is_false(folder: Path) -> None:
    for prepack in (True, False):
        model = Generator.from_pretrained(folder, "cpu", prepack=prepack).model
        assert any(isinstance(module, PrepackedLinear) for module in model.modules()) == prepack


def test_generator_rejects_translation_model(tmp_path: Path) -> None:
    folder = tiny_model.make_folder(tmp_path / "pairs")
    with pytest.raises(ValueError, match=r"pairs contains a translation model\. Use transformer\.translate"):
        Generator.from_pretrained(folder)


def test_from_pretrained_rejects_tokenizer_of_other_model(folder: Path, tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other")
    CharTokenizer.learn(["abc"], other / "tokenizer.model")
    with pytest.raises(
        ValueError, match=r"the tokenizer has 4 tokens but the model has 30\. They do not belong together"
    ):
        Generator.from_pretrained(other)


def test_from_pretrained_fails_if_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no model folder"):
        Generator.from_pretrained(tmp_path / "none")
