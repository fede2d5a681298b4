"""Is this output better than another of the same lines, or is it luck? Two paired tests answer."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest

from common.errors import InputError
from data_pipeline.sources.tables import read_lines
from evaluate.metrics.corpus_metrics import RESAMPLES, Measure
from evaluate.metrics.newstest2014 import digest

TRIALS = 10_000
COMPARED = ("bleu_13a", "chrf2", "ter")


@dataclass(frozen=True)
class Baseline:
    """Another output of the same lines."""

    name: str
    """The report that it is from."""
    hypotheses: list[str]
    """Line by line."""


@dataclass(frozen=True)
class Difference:
    """One figure of both outputs."""

    label: str
    """Of the figure."""
    baseline: float
    """The other output's score."""
    score: float
    """This output's score."""
    p_bootstrap: float
    """Paired bootstrap resampling (Koehn 2004)."""
    p_randomisation: float
    """Paired approximate randomisation (Riezler and Maxwell 2005)."""

    def row(self) -> list[str]:
        """Its cells in a table on the screen."""
        change = f"{self.score - self.baseline:+.2f}"
        return [
            self.label,
            f"{self.baseline:.2f}",
            f"{self.score:.2f}",
            change,
            f"{self.p_bootstrap:.4f}",
            f"{self.p_randomisation:.4f}",
        ]


@dataclass(frozen=True)
class Comparison:
    """Two outputs of the same lines."""

    baseline: str
    """The report that the other output is from."""
    seed: str
    """Of both tests: sacreBLEU's, 12345 or `SACREBLEU_SEED`."""
    differences: dict[str, Difference]
    """By the figure's name in the JSON."""
    resamples: int = RESAMPLES
    """Of the bootstrap."""
    trials: int = TRIALS
    """Of the randomisation."""


def read_baseline(report: Path, references: list[list[str]]) -> Baseline:
    """The output that a report `NAME.json` is on: `NAME.hyp` beside it.

    Raises FileNotFoundError where one is missing, ValueError where it is no report on these references.
    """
    if not report.is_file():
        raise FileNotFoundError(f"there is no report {report}")
    try:
        about = json.loads(report.read_text(encoding="utf-8"))
        theirs = about["references_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{report} is no report that can be compared with: --baseline takes the NAME.json that evaluate/bleu.py "
            "wrote for the other model, or with --hypotheses for the other text"
        ) from error
    if theirs != [digest(lines) for lines in references]:
        raise InputError(f"{report} is a report on other references ({about.get('corpus')}): compare on one test set")
    text = report.with_suffix(".hyp")
    if not text.is_file():
        raise FileNotFoundError(f"there is no {text}: the translations that {report} is about must lie beside it")
    hypotheses = list(read_lines(text))
    if len(hypotheses) != len(references[0]):
        raise InputError(f"{text} has {len(hypotheses)} lines and the reference has {len(references[0])}")
    return Baseline(str(report), hypotheses)


def compare(measures: Mapping[str, Measure], baseline: Baseline, hypotheses: list[str]) -> Comparison:
    """Both tests on BLEU 13a, chrF2 and TER: enough to see whether they agree, and quick enough to wait for."""
    chosen = {key: measures[key] for key in COMPARED}
    systems: list[tuple[str, Sequence[str]]] = [(baseline.name, baseline.hypotheses), ("this", hypotheses)]
    found = {}
    for test, samples in (("bs", RESAMPLES), ("ar", TRIALS)):
        # PairedTest names its results after the metrics, in the order given.
        paired = PairedTest(systems, cast(Mapping[str, Metric], chosen), None, test, samples)
        found[test] = dict(zip(["System", *chosen], paired()[1].values(), strict=True))
    differences = {}
    for key, measure in chosen.items():
        (theirs, by_bootstrap), (_, by_trial) = (cast(list[Any], found[test][key]) for test in ("bs", "ar"))
        # sacreBLEU counts the samples that differ by more than the texts do: none where the texts do not differ.
        same = math.isclose(theirs.score, by_bootstrap.score, abs_tol=1e-9)
        p = (1.0, 1.0) if same else (by_bootstrap.p_value, by_trial.p_value)
        differences[key] = Difference(measure.label, *map(float, (theirs.score, by_bootstrap.score, *p)))
    return Comparison(baseline.name, str(chosen["ter"].metric.seed), differences)
