"""What a model did with one sentence: the forward pass, the attention, the search."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.errors import InputError
from data_pipeline.tokenizers import TextTokenizer, TranslationTokenizer
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from evaluate.backends.pytorch import PyTorchBackend
from evaluate.config import DecodeConfig, SampleConfig
from evaluate.explain.record import Operation, attention_maps, record_forward, recorded_search
from evaluate.explain.search import Choice, Node, Step, choices_of, choose, find_node, replay_beam, why_stopped
from evaluate.explain.words import Labels, Subwords, join_weights
from evaluate.generator import Generator
from evaluate.model_folders import is_language_model
from evaluate.segmentation.lines import is_translated
from evaluate.segmentation.sentences import split_sentences
from evaluate.translator import Translator
from transformer.config import ModelConfig

MAX_SUBWORDS = 200
"""Longest sentence that is explained: a page with more could not be read."""


@dataclass(frozen=True)
class AttentionMap:
    """Attention weights of all layers and heads of one kind."""

    title: str
    rows: Subwords
    """What attends."""
    columns: Subwords
    """What is attended to."""
    weights: Tensor
    """(layers, H, L, M) for subwords."""
    meaning: str
    """What a row is, as a sentence."""

    def by_words(self) -> Tensor:
        """Return the weights (layers, H, words, words), joined by `words.RULE`."""
        return join_weights(self.weights, self.rows, self.columns)


@dataclass(frozen=True)
class Beam:
    """The search of a translation."""

    steps: list[Step]
    chosen: Node
    reason: str
    """Why the search stopped."""
    config: DecodeConfig


@dataclass(frozen=True)
class Explanation:
    """All that is shown of one sentence."""

    config: ModelConfig
    text: str
    output: str
    operations: list[Operation]
    sequences: Mapping[str, Subwords]
    """Input sequences of the model by the name of their stack: encoder and decoder."""
    maps: Mapping[str, AttentionMap]
    """By kind: encoder, decoder and cross."""
    choices: list[Choice]
    """One for each token of the output."""
    labels: Labels
    beam: Beam | None
    """None for a language model, which takes the most likely token."""


def explain(
    folder: Path,
    text: str,
    config: DecodeConfig,
    max_tokens: int,
    languages: tuple[str | None, str | None] = (None, None),
) -> Explanation:
    """Load the model of a model folder, and explain a sentence that it translates or a text that it continues.

    Source and target language choose one of several directions; see `Translator.from_pretrained`.

    Raises as `explain_translation` and `explain_text`, which also describe the settings, and if the model is damaged.
    """
    if is_language_model(folder):
        return explain_text(Generator.from_pretrained(folder, prepack=False), text, max_tokens)
    source_lang, target_lang = languages
    translator = Translator.from_pretrained(
        folder, config, prepack=False, source_lang=source_lang, target_lang=target_lang
    )
    return explain_translation(translator, text)


def explain_translation(translator: Translator, text: str) -> Explanation:
    """Translate one sentence and record how. Uses the model of the backend torch, which must not be prepacked.

    Raises InputError if the text is empty, several sentences, or longer than `MAX_SUBWORDS`.
    """
    backend = translator.backend
    assert isinstance(backend, PyTorchBackend)
    ids = _source_ids(translator, text)
    with recorded_search(backend.model) as record:
        best = translator.ids.translate([ids])[0][0]
    fed = [BOS_ID, *best.tokens[:-1]]
    src_BM = torch.tensor([ids], device=translator.device)
    operations = record_forward(backend.model, src_BM, src_BM != PAD_ID, torch.tensor([fed], device=translator.device))
    labels = translation_labels(translator.tokenizer)
    steps = replay_beam(record, translator.config, EOS_ID)
    chosen = find_node(steps, best.tokens)
    source, target, written = labels.subwords(ids), labels.subwords(fed), labels.subwords(best.tokens)
    return Explanation(
        backend.model.config, text, best.text, operations,
        {"encoder": source, "decoder": target},
        _translation_maps(attention_maps(operations), source, target, written),
        choices_of(chosen, record), labels,
        Beam(steps, chosen, why_stopped(steps, record, translator.config, EOS_ID), translator.config),
    )  # fmt: skip


def explain_text(generator: Generator, text: str, max_tokens: int) -> Explanation:
    """Continue a text with the most likely tokens and record how. The model must not be prepacked.

    The text is continued by at most `max_tokens` tokens, and only as long as the context of the model is not full.

    Raises InputError if the text is empty, or longer than the context of the model or than `MAX_SUBWORDS`.
    """
    if not text:
        raise InputError('the text is empty. Give a text that the model continues, such as "Once upon a time".')
    tokenizer = generator.tokenizer
    given = len(tokenizer.encode_text(text)) + int(generator.starts_documents)
    _check_length(given)
    free = generator.model.config.max_len - given + 1
    with recorded_search(generator.model) as record:
        output = generator.generate([text], SampleConfig(temperature=0, max_tokens=min(max_tokens, max(free, 1))))[0][0]
    prompt: list[int] = record.prompt_BL[0].tolist()
    likeliest = [int(logp_NV[0].argmax()) for logp_NV in record.log_probs_NV]
    fed = [*prompt, *likeliest[:-1]]
    operations = record_forward(generator.model, torch.tensor([fed], device=generator.device))

    labels = text_labels(tokenizer, prompt[-1])
    sequence = labels.subwords(fed)
    maps = attention_maps(operations)
    meaning = (
        "A row is a word of the text. It attends to itself and the words before it; from it the next word follows."
    )
    return Explanation(
        generator.model.config, text, output, operations, {"decoder": sequence},
        {"decoder": AttentionMap("Self-attention", sequence, sequence, maps["decoder self_attention"], meaning)},
        [choose(logp_NV[0], token) for logp_NV, token in zip(record.log_probs_NV, likeliest, strict=True)],
        labels, None,
    )  # fmt: skip


def translation_labels(tokenizer: TranslationTokenizer | TextTokenizer) -> Labels:
    """Return the labels of a translator's tokens."""
    special = {BOS_ID: "(start)", EOS_ID: "(end)", PAD_ID: "(padding)"}
    # After another token, so that the tokenizer keeps the space of the first one.
    return Labels(lambda tokens: tokenizer.decode_text([UNK_ID, *tokens])[1:], special)


def text_labels(tokenizer: TextTokenizer, before: int) -> Labels:
    """Return the labels of a language model's tokens. `before` is the token that the labelled ones follow."""

    def decode(tokens: list[int]) -> str:
        return tokenizer.decode_text([before, *tokens]).removeprefix(tokenizer.decode_text([before]))

    return Labels(decode, {} if tokenizer.end_id is None else {tokenizer.end_id: "(end)"})


def _source_ids(translator: Translator, text: str) -> list[int]:
    if not is_translated(text, translator.config.translate_symbols):
        raise InputError(f'{text!r} has no word to translate. Give a sentence, such as "It is raining."')
    sentences = split_sentences(text, translator.source_lang)
    if translator.config.split_sentences and len(sentences) > 1:
        raise InputError(
            f"the text has {len(sentences)} sentences, which are translated one by one. Give one of them, or "
            "--no-split-sentences to translate the text as a whole."
        )
    ids = translator.encode([text])[0]
    _check_length(len(ids))
    return ids


def _check_length(tokens: int) -> None:
    if tokens > MAX_SUBWORDS:
        raise InputError(f"the text has {tokens} subwords; at most {MAX_SUBWORDS} can be shown. Give a shorter one.")


def _translation_maps(
    weights: Mapping[str, Tensor], source: Subwords, target: Subwords, written: Subwords
) -> dict[str, AttentionMap]:
    return {
        "encoder": AttentionMap(
            "Encoder self-attention", source, source, weights["encoder self_attention"],
            "A row is a word of the source. It attends to all words of the source.",
        ),
        "decoder": AttentionMap(
            "Decoder self-attention", written, target, weights["decoder self_attention"],
            "A row is the word that the decoder writes next. It attends to the start and to what is written so far.",
        ),
        "cross": AttentionMap(
            "Cross-attention", written, source, weights["decoder cross_attention"],
            "A row is the word that the decoder writes next. It attends to the words of the source.",
        ),
    }  # fmt: skip
