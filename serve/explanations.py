"""Explain translations, one after another."""

import copy
from dataclasses import dataclass, replace

from evaluate.explain.explanation import explain_translation
from evaluate.explain.page import html_explanation
from serve.models import Models


@dataclass(frozen=True)
class Question:
    """A sentence to explain."""

    models: Models
    source: str
    target: str
    text: str
    beam: int | None
    """None is the beam of the model."""


def explain_all(questions: list[Question]) -> list[str]:
    """Return the page for each sentence. Raises ApiError or InputError if one cannot be explained."""
    return list(map(_explain, questions))


def _explain(question: Question) -> str:
    translator = copy.copy(question.models.readable(question.source, question.target))
    if question.beam is not None:
        translator.config = replace(translator.config, beam=question.beam)
    return html_explanation(explain_translation(translator, question.text))
