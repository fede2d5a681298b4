"""What differs between tasks while training: BLEU, F1 of trees, bits per character, samples of text."""

import math
import statistics
from typing import NamedTuple

import numpy as np
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from data_pipeline.config import DataConfig
from data_pipeline.tokenizers.sentence_piece import Tokenizer, normalize
from data_pipeline.trees import TREE_LANG, bracketed, delinearise, remove_numbers
from evaluate.backends.pytorch import PyTorchBackend
from evaluate.config import DecodeConfig, SampleConfig
from evaluate.generator import Generator
from evaluate.metrics.bleu_tokenizer import choose_tokenizer, open_bleu
from evaluate.metrics.parsing_f1 import score_trees
from evaluate.parser import Parser
from evaluate.translator import Translator
from train.setup import Setup
from transformer.model import GPT, Transformer

SHOWN = 3
"""Number of validation documents that a sample continues."""


class SampleTranslation(NamedTuple):
    """A validation sentence pair, and the greedy translation of its source. Trees are in brackets."""

    source: str
    reference: str
    text: str


def measure(
    setup: Setup, accelerator: Accelerator, model: nn.Module, loss: float
) -> tuple[dict[str, float], list[SampleTranslation]]:
    """Return what is logged besides the validation loss (nats per predicted token), and the translations of BLEU or F1.

    Equal on all ranks. A language model has no translations.
    """
    match setup.config.data.task:
        case "translation":
            assert isinstance(model, Transformer)
            of_trees = setup.config.data.target_lang == TREE_LANG
            return (_measure_f1 if of_trees else _measure_bleu)(setup, accelerator, model)
        case "language_modelling":
            # Bits per character do not depend on the vocabulary; a loss per token does.
            bits = loss * setup.prepared.valid.predicted_tokens / math.log(2)
            return {"valid_bits_per_character": bits / setup.prepared.report["valid"]["characters"]}, []


def sample(setup: Setup, model: nn.Module) -> str:
    """Return text that a language model generates, for the terminal. Return "" for translation.

    The text has `validation.sample_tokens` tokens, with the same seed each time. If the layout is `documents`, the
    model continues the prompts of the first validation documents.
    """
    tokens, documents = setup.config.validation.sample_tokens, setup.config.data.layout == "documents"
    if setup.config.data.task == "translation" or not tokens:
        return ""
    assert isinstance(model, GPT)
    tokenizer, prompt_ids = setup.tokenizer, setup.prepared.valid.prompts(SHOWN)
    prompts = [tokenizer.decode_text(ids) if ids else None for ids in prompt_ids]
    generator = Generator(model, tokenizer, starts_documents=documents)
    settings = SampleConfig(max_tokens=tokens, seed=setup.config.train.seed)
    samples = generator.generate(prompts, settings, note=lambda _: None)
    texts = [(prompt or "") + text for prompt, (text,) in zip(prompts, samples, strict=True)]
    if documents and tokenizer.end_id is None:
        texts = [text.split("\n")[0] for text in texts]  # a document ends at a line break
    return "\n".join(texts)


def _measure_bleu(
    setup: Setup, accelerator: Accelerator, model: Transformer
) -> tuple[dict[str, float], list[SampleTranslation]]:
    """Return sacreBLEU of greedy translations of `validation.bleu_sentences` evenly spread validation sentences.

    Return these translations, too. With several directions, each has so many sentences and a figure of its own, such as
    `valid_bleu_en_de`, and `valid_bleu` is their mean.
    """
    data = setup.config.data
    sources, references = setup.prepared.valid_text()
    parts = list(setup.prepared.parts("valid").values()) or [range(len(sources))]
    scores, translations = dict[str, float](), list[SampleTranslation]()
    for own, part in zip(data.by_direction(), parts, strict=True):
        n = min(setup.config.validation.bleu_sentences, len(part))
        chosen = [part[i] for i in np.linspace(0, len(part) - 1, n).astype(int).tolist()]
        if chosen:
            pairs = [(sources[i], references[i]) for i in chosen]
            found = _translate(setup, accelerator, model, own, [source for source, _ in pairs])
            translations += [SampleTranslation(*pair, text) for pair, text in zip(pairs, found, strict=True)]
            scores[own.direction] = _bleu(own, found, [reference for _, reference in pairs])
    if not scores:
        return {}, []
    values = {"valid_bleu": round(statistics.fmean(scores.values()), 2)}
    if data.has_directions:
        values |= {f"valid_bleu_{name.replace('-', '_')}": round(score, 2) for name, score in scores.items()}
    return values, translations


def _translate(
    setup: Setup, accelerator: Accelerator, model: Transformer, data: DataConfig, sources: list[str]
) -> list[str]:
    """Return greedy translations in the direction of `data`. Each rank makes some of them, and gets all."""
    tokenizer = Tokenizer(setup.prepared.tokenizer_file, data.normalize_unicode)
    # Lines are not split or copied: BLEU measures what the model was trained to do.
    config = DecodeConfig(beam=1, split_sentences=False, translate_symbols=True)
    directions = [data.languages] if setup.config.data.has_directions else []
    translator = Translator(
        PyTorchBackend(model), tokenizer, config, *data.languages, protect=False, directions=directions
    )
    own = range(len(sources))[accelerator.process_index :: accelerator.num_processes]
    # Lost characters and numbers are what a model in training makes: no notes about them.
    found = translator.translate([sources[i] for i in own], note=lambda _: None)
    of_all_ranks = dict(gather_object([(i, best.text) for i, (best,) in zip(own, found, strict=True)]))
    return [of_all_ranks[i] for i in range(len(sources))]


def _bleu(data: DataConfig, hypotheses: list[str], references: list[str]) -> float:
    """Return BLEU. Its tokenizer is that of the evaluation report: 13a for languages with spaces between words."""
    expected = [normalize(reference, data.normalize_unicode) for reference in references]
    bleu = open_bleu(choose_tokenizer(None, data.target_lang, [expected]).name)
    return float(bleu.corpus_score(hypotheses, [expected]).score)


def _measure_f1(
    setup: Setup, accelerator: Accelerator, model: Transformer
) -> tuple[dict[str, float], list[SampleTranslation]]:
    """Return the labelled F1 of greedy trees of `validation.bleu_sentences` validation sentences, and these trees."""
    sources, references = setup.prepared.valid_text()
    n = min(setup.config.validation.bleu_sentences, len(sources))
    if n == 0:
        return {}, []
    chosen = np.linspace(0, len(sources) - 1, n).astype(int).tolist()
    own = chosen[accelerator.process_index :: accelerator.num_processes]
    tokenizer = Tokenizer(setup.prepared.tokenizer_file, setup.config.data.normalize_unicode)
    config = DecodeConfig(beam=1, max_extra=setup.config.decode.max_extra)
    parser = Parser(Translator(PyTorchBackend(model), tokenizer, config, protect=False))
    words = {i: sources[i].split() for i in chosen}
    if setup.config.data.number_words:
        words = {i: numbered[1::2] for i, numbered in words.items()}
    found = dict(gather_object(list(zip(own, parser.parse([words[i] for i in own]), strict=True))))
    trees = [found[i] for i in chosen]
    gold = [delinearise(remove_numbers(references[i].split()), words[i]) for i in chosen]
    f1 = score_trees(gold, trees).all.brackets.f1
    shown = [
        SampleTranslation(" ".join(words[i]), bracketed(reference), "" if tree is None else bracketed(tree))
        for i, reference, tree in zip(chosen, gold, trees, strict=True)
    ]
    return {"valid_f1": round(f1, 2)}, shown
