"""One Unicode form of the texts of a report: texts that look equal count as equal."""

from dataclasses import dataclass, replace

from common.text import UNICODE_RULE, changed_lines, name_lines, unify
from evaluate.metrics.metric_choice import name_texts
from evaluate.metrics.significance import Baseline
from evaluate.test_sets import TestSet


@dataclass(frozen=True)
class ScoredTexts:
    """The texts that are compared with each other."""

    test_set: TestSet
    hypotheses: list[str]
    baseline: Baseline | None

    def unify(self) -> "ScoredTexts":
        """Return the texts in one Unicode form. The sources stay: no metric compares them."""
        return ScoredTexts(
            replace(self.test_set, references=[list(map(unify, lines)) for lines in self.test_set.references]),
            list(map(unify, self.hypotheses)),
            self.baseline and replace(self.baseline, hypotheses=list(map(unify, self.baseline.hypotheses))),
        )

    def notes(self) -> list[str]:
        """Return a message for each text that `unify` changes."""
        texts = name_texts(self.hypotheses, self.test_set.references)
        found = {name: changed_lines(lines) for name, lines in texts.items()}
        return [
            f"{name} is compared in one Unicode form, which changes {len(numbers):,} of {len(texts[name]):,} lines "
            f"({name_lines(numbers)}): {UNICODE_RULE}. --keep-unicode compares the text as it is."
            for name, numbers in found.items()
            if numbers
        ]
