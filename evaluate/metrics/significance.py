"""Paired significance tests: could the choice of test sentences alone explain the difference of two translations?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest, Result

from common.errors import InputError
from common.files import read_json
from common.text_input import check_equal_lines, read_all_lines
from evaluate.metrics.corpus_metrics import RESAMPLES, sacrebleu_metrics
from evaluate.metrics.limits import ShowProgress
from evaluate.metrics.metric_choice import DEFAULT_METRICS, MetricChoice
from evaluate.metrics.newstest2014 import digest

TRIALS = 10_000
"""Trials of the randomisation test."""


@dataclass(frozen=True)
class Baseline:
    """Another translation of the same lines."""

    name: str
    """Path of the report about it."""
    hypotheses: list[str]
    """The translation, line by line."""


@dataclass(frozen=True)
class Difference:
    """Scores of both translations in one metric."""

    label: str
    """Name of the metric in a report."""
    baseline: float
    """Score of the baseline."""
    score: float
    """Score of the new translation."""
    p_bootstrap: float
    """p of paired bootstrap resampling (Koehn 2004)."""
    p_randomisation: float | None
    """p of paired approximate randomisation (Riezler and Maxwell 2005). None for TER."""


@dataclass(frozen=True)
class Comparison:
    """Comparison of two translations of the same lines."""

    baseline: str
    """Path of the report about the baseline."""
    seed: str
    """Seed of both tests: 12345, or the environment variable `SACREBLEU_SEED`."""
    differences: dict[str, Difference]
    """Results by the metric's key in the JSON."""
    resamples: int = RESAMPLES
    """Resamples of the bootstrap test."""
    trials: int = TRIALS
    """Trials of the randomisation test."""


def read_baseline(report: Path, references: list[list[str]]) -> Baseline:
    """Return the translation that a report `NAME.json` is about, from `NAME.hyp` in the same folder.

    Raises:
        FileNotFoundError: one of the two files is missing.
        InputError: the file is not a report, or its references or translations differ.
    """
    if not report.is_file():
        raise FileNotFoundError(f"there is no report {report}")
    about = _read_report(report)
    if about["references_sha256"] != [digest(lines) for lines in references]:
        name = about.get("test_set", about.get("corpus"))  # "corpus" in reports of earlier versions
        raise InputError(f"{report} is a report on other references ({name}). Compare on one test set.")
    text = report.with_suffix(".hyp")
    if not text.is_file():
        raise FileNotFoundError(f"there is no {text}. Copy the translations that {report} is about to this path.")
    hypotheses = read_all_lines(text)
    check_equal_lines(text, len(hypotheses), "the reference", len(references[0]))
    if about.get("hypotheses_sha256", digest(hypotheses)) != digest(hypotheses):
        raise InputError(f"{text} is not the translation that {report} is about. Evaluate the translation again.")
    return Baseline(str(report), hypotheses)


def _read_report(report: Path) -> dict[str, Any]:
    try:
        about = read_json(report)
        about["references_sha256"]
    except (InputError, KeyError, TypeError) as error:
        raise InputError(
            f"{report} is not an evaluation report. Give --baseline the NAME.json that evaluate/bleu.py wrote for the "
            "other model, or with --hypotheses for the other translation."
        ) from error
    return cast(dict[str, Any], about)


def compare(
    references: list[list[str]], baseline: Baseline, hypotheses: list[str], choice: MetricChoice = DEFAULT_METRICS
) -> Comparison:
    """Test if the hypotheses differ from the baseline in BLEU, chrF2 and TER.

    The randomisation test leaves TER out, because each test counts its edits again, which takes seconds.
    """
    systems = [(baseline.name, ShowProgress(baseline.hypotheses)), ("this", ShowProgress(hypotheses))]
    named = sacrebleu_metrics(choice)
    metrics = {key: metric for key, (_, metric) in named.items() if key in (choice.bleu, "chrf2", "ter")}
    bootstrap, seed = _paired_test(systems, references, metrics, "bs", RESAMPLES)
    without_ter = {key: metric for key, metric in metrics.items() if key != "ter"}
    randomisation, _ = _paired_test(systems, references, without_ter, "ar", TRIALS)
    differences = {}
    for key, (before, after) in bootstrap.items():
        differences[key] = Difference(
            label=named[key][0],
            baseline=float(before.score),
            score=float(after.score),
            p_bootstrap=_p_value(before, after),
            p_randomisation=_p_value(*randomisation[key]) if key in randomisation else None,
        )
    return Comparison(baseline.name, seed, differences)


def _p_value(before: Result, after: Result) -> float:
    """Return sacreBLEU's p, but 1 for equal scores.

    sacreBLEU counts the samples that differ more than the texts do. For equal texts it finds none, so its p is small.
    """
    assert after.p_value is not None
    return 1.0 if math.isclose(before.score, after.score, abs_tol=1e-9) else float(after.p_value)


def _paired_test(
    systems: Sequence[tuple[str, list[str]]],
    references: list[list[str]],
    metrics: Mapping[str, Metric],
    test: str,
    samples: int,
) -> tuple[dict[str, tuple[Result, Result]], str]:
    """Run sacreBLEU's paired test. Return the results of both systems by metric key, and the seed."""
    signatures, results = PairedTest(cast(Any, systems), metrics, references, test, samples)()
    (_, *found) = results.values()  # the first row has the names of the systems; the others are in the metrics' order
    seed = str(next(iter(signatures.values())).info["seed"])
    return {key: cast(tuple[Result, Result], tuple(pair)) for key, pair in zip(metrics, found, strict=True)}, seed
