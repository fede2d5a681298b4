"""Tell the languages of the loaded models apart, by how often each language has the tokens of a text.

A calibration (`evaluate.confidence`) has the frequency of each token of a vocabulary in both languages of a model. So a
text gets one of these languages, also if it is in another one. Single words and names are often wrong.
"""

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean

from evaluate.confidence import common_words
from evaluate.translator import Translator
from serve.models import Models

MAX_CHARACTERS = 2000
"""Later characters of a text do not change the language."""
BITS_PER_BIT = 0.5
"""Tokens of a text depend on one another, so together they show less than the sum of their bits."""


def detect(models: Models, text: str) -> list[tuple[str, float]]:
    """Return the languages that the text may be in, the likeliest first, with confidences from 0 to 100.

    Empty if no model has a calibration. Without a letter all languages are equally likely.
    """
    text = " ".join(text[:MAX_CHARACTERS].split())
    bits = _language_bits(models, common_words(text) or text)
    weights = {code: 2.0 ** (BITS_PER_BIT * max(-1000.0, found - max(bits.values()))) for code, found in bits.items()}
    total = sum(weights.values())
    found = ((code, round(100 * weight / total, 1)) for code, weight in weights.items())
    return sorted(found, key=lambda item: -item[1])


def _language_bits(models: Models, text: str) -> dict[str, float]:
    """Return the log2 of the probability of the text in each language, apart from a constant."""
    differences: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (source, target), translator in models.directions.items():
        if translator.calibration is not None:
            bits = _target_bits(translator, text)
            differences[source, target].append(bits)
            differences[target, source].append(-bits)
    found = {source: 0.0 for source, _ in list(differences)[:1]}
    while new := dict(_neighbours(found, differences.items())):
        found |= new
    return found


def _neighbours(
    found: dict[str, float], differences: Iterable[tuple[tuple[str, str], list[float]]]
) -> Iterable[tuple[str, float]]:
    for (source, target), bits in differences:
        if source in found and target not in found:
            yield target, found[source] + mean(bits)


def _target_bits(translator: Translator, text: str) -> float:
    """Return by how many bits a text is likelier in the target language than in the source language."""
    assert translator.calibration is not None
    return translator.calibration.target_bits(translator.tokenizer.encode([text])[0][:-1])  # without EOS
