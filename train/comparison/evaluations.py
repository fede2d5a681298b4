"""Evaluation reports of compared runs: scores, paired tests and translations of the test sets that the runs share."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sacrebleu.metrics import CHRF

from common.command import describe_error
from common.errors import InputError
from common.files import read_json, reject_links
from common.text import unify
from common.text_input import read_all_lines
from evaluate.metrics.limits import check_comparable
from evaluate.metrics.metric_choice import choose_metrics
from evaluate.metrics.newstest2014 import digest
from evaluate.metrics.paired_seeds import p_value, sentence_statistics
from evaluate.metrics.significance import Baseline, compare
from evaluate.test_sets import Selection, TestSet, find_test_set, from_config
from train.comparison.runs import ComparedRun, Group, mean_and_spread

SIGNIFICANT = 0.05
"""Largest p at which a difference is called significant."""
SENTENCES = 4
"""Number of translations of each kind that are shown: evenly spread, better than the baseline, worse."""
SCORES = {"chrf2": "chrF2", "ter": "TER"}
"""Scores in the table besides BLEU."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation report `eval/NAME.json` of a run, and the translations that it is about."""

    file: Path
    about: dict[str, Any]
    hypotheses: list[str]

    @property
    def references(self) -> tuple[str, ...]:
        """Digests of the references: reports with equal digests are about one test set."""
        return tuple(self.about["references_sha256"])

    def score(self, key: str) -> float | None:
        """Return a score of the report, `bleu` or a key of `scores`; None if the report has none."""
        scores = self.about.get("scores")
        found = self.about["bleu"] if key == "bleu" else scores.get(key) if isinstance(scores, dict) else None
        return found.get("score") if isinstance(found, dict) else found


@dataclass(frozen=True)
class Difference:
    """A score of a group and of the baseline, and the test of their difference."""

    group: str
    metric: str
    baseline: float
    score: float
    p: float
    method: str
    """Name of the test."""

    @property
    def change(self) -> float:
        """Score minus that of the baseline."""
        return self.score - self.baseline


@dataclass(frozen=True)
class Example:
    """A sentence with its translations by all groups."""

    line: int
    """Number in the test set, from 1."""
    source: str | None
    reference: str
    translations: list[str]
    """One of each group: that of its first seed."""


@dataclass(frozen=True)
class TestSetComparison:
    """What the reports of one test set show."""

    name: str
    rows: list[list[str]]
    """Headings, and the scores of each group."""
    differences: list[Difference]
    examples: list[Example]
    notes: list[str]
    """Sentences about what is not compared, and why."""


def read_evaluations(run: ComparedRun) -> tuple[list[Evaluation], list[str]]:
    """Return the evaluation reports of a run with their translations, and sentences about those that are unusable.

    Of several reports on one test set, the newest counts. Raises InputError if the folder has a symbolic link.
    """
    reject_links(run.files.folder, ["eval"])
    found: dict[tuple[str, ...], Evaluation] = {}
    notes = []
    files = [file for file in (run.files.folder / "eval").glob("*.json") if _read_about(file) is not None]
    for file in sorted(files, key=lambda file: file.stat().st_mtime):
        about, text = _read_about(file), file.with_suffix(".hyp")
        assert about is not None
        if not text.is_file():
            if file.name != "figures.json":  # what --json writes has no translations of its own
                notes.append(f"{run.name}: {text.name} is missing, so {file.name} cannot be tested.")
            continue
        hypotheses = read_all_lines(text)
        if digest(hypotheses) != about["hypotheses_sha256"]:
            notes.append(f"{run.name}: {text.name} is not the translation that {file.name} is about.")
            continue
        one = Evaluation(file, about, hypotheses)
        if one.references in found:
            notes.append(f"{run.name}: {file.name} replaces the older {found[one.references].file.name}.")
        found[one.references] = one
    return list(found.values()), notes


def _read_about(file: Path) -> dict[str, Any] | None:
    """Return an evaluation report; None if the file is something else."""
    try:
        about = read_json(file)
    except InputError:
        return None
    needed = {"references_sha256": list, "hypotheses_sha256": str, "signature": str, "tokenizer": str, "test_set": str}
    if not isinstance(about, dict) or not all(isinstance(about.get(key), kind) for key, kind in needed.items()):
        return None
    return about if isinstance(about.get("bleu"), int | float) else None


def find_texts(runs: Iterable[ComparedRun], selection: Selection) -> tuple[list[TestSet], list[str]]:
    """Return the test sets whose texts are known, and sentences about those that cannot be read.

    They are the selected one and those of `data.test` of the runs.
    """
    found, notes, seen = [], [], []
    if selection.references or selection.sacrebleu_name:
        found.append(find_test_set(selection, None))
    for run in runs:
        data = run.files.config.data
        if data.task != "translation" or (key := (data.test, data.train if data.test is None else None)) in seen:
            continue
        seen.append(key)
        try:
            found += from_config(data)
        except (InputError, OSError) as error:
            notes.append(f"{run.name}: the test set of data.test cannot be read: {describe_error(error)}.")
    return found, notes


def compare_evaluations(
    groups: Sequence[Group], evaluations: dict[str, list[Evaluation]], texts: Sequence[TestSet]
) -> tuple[list[TestSetComparison], list[str]]:
    """Compare the reports of all groups, test set by test set. Return sentences if there is nothing to compare, too.

    Args:
        evaluations: by the name of the run.
        texts: sources and references that are known.
    """
    by_references: dict[tuple[str, ...], dict[str, Evaluation]] = {}
    for name, own in evaluations.items():
        for one in own:
            by_references.setdefault(one.references, {})[name] = one
    known = {tuple(digest(lines) for lines in text.references): text for text in texts}
    shared = {key: found for key, found in by_references.items() if _groups_with(groups, found) > 1 or len(groups) == 1}
    notes = []
    if alone := [one for key, found in by_references.items() if key not in shared for one in found.values()]:
        names = ", ".join(dict.fromkeys(f"{one.about['test_set']} ({one.file})" for one in alone))
        notes.append(
            f"Only one of the configurations has a report on these test sets, so they are not compared: {names}."
        )
    if not shared:
        notes.append(
            "The runs have no evaluation report on a common test set, so there is no paired test. Run evaluate/bleu.py "
            "--model for each run on the same test set, or compare with --validation."
        )
    return [_compare_one(groups, found, known.get(key)) for key, found in shared.items()], notes


def _groups_with(groups: Sequence[Group], found: dict[str, Evaluation]) -> int:
    return sum(any(run.name in found for run in group.runs) for group in groups)


def _compare_one(groups: Sequence[Group], found: dict[str, Evaluation], text: TestSet | None) -> TestSetComparison:
    notes = [f"{run.name} has no report on this test set." for g in groups for run in g.runs if run.name not in found]
    own = {group.label: [found[run.name] for run in group.runs if run.name in found] for group in groups}
    own = {label: evaluations for label, evaluations in own.items() if evaluations}
    name = next(iter(own.values()))[0].about["test_set"]
    rows = [["run", "BLEU", *SCORES.values()]]
    for label, evaluations in own.items():
        columns = [[one.score(key) for one in evaluations] for key in ("bleu", *SCORES)]
        rows.append([label, *(_scores(column) for column in columns)])
    signatures = {one.about["signature"]: label for label, evaluations in own.items() for one in evaluations}
    differences: list[Difference] = []
    examples: list[Example] = []
    if text is not None:
        examples = choose_examples(text, [evaluations[0].hypotheses for evaluations in own.values()])
    if len(signatures) > 1:
        shown = " and ".join(f"{signature} ({label})" for signature, label in signatures.items())
        notes.append(
            f"The BLEU scores have different signatures, so they are not tested: {shown}. Evaluate all runs again with "
            "one version and one --tokenize."
        )
    elif text is None:
        notes.append(
            f"The references of {name} are not known, so nothing is tested. Give them with --source and --reference, "
            "or --test-set."
        )
    else:
        notes.append(f"Signature of BLEU: {next(iter(signatures))}.")
        try:
            differences = _differences(text, own)
        except InputError as error:
            notes.append(f"There is no paired test: {describe_error(error)}")
    return TestSetComparison(name, rows, differences, examples, notes)


def _scores(values: Sequence[float | None]) -> str:
    known = [value for value in values if isinstance(value, int | float)]
    return mean_and_spread(known, 2) if known and len(known) == len(values) else ""


def _differences(text: TestSet, own: dict[str, list[Evaluation]]) -> list[Difference]:
    """Test each group against the first one. Raises InputError if the text is too large."""
    check_comparable(text.references)
    (base_label, base), *others = own.items()
    return list(chain.from_iterable(_test(text, base_label, base, label, new) for label, new in others))


def _test(
    text: TestSet, base_label: str, base: Sequence[Evaluation], label: str, new: Sequence[Evaluation]
) -> list[Difference]:
    references = [list(map(unify, lines)) for lines in text.references]
    tokenizer = base[0].about["tokenizer"]
    before, after = ([list(map(unify, one.hypotheses)) for one in own] for own in (base, new))
    if len(before) == len(after) == 1:
        choice = choose_metrics(tokenizer, after[0], references, before[0])
        found = compare(references, Baseline(base_label, before[0]), after[0], choice)
        return [
            Difference(
                label, one.label, one.baseline, one.score,
                one.p_bootstrap if one.p_randomisation is None else one.p_randomisation,
                f"bootstrap, {found.resamples:,} resamples" if one.p_randomisation is None
                else f"randomisation, {found.trials:,} trials",
            )
            for one in found.differences.values()
        ]  # fmt: skip
    if len(references) > 1:
        raise InputError("the test of several seeds needs one reference, and the test set has more.")
    counts = [[sentence_statistics(lines, references[0], tokenizer) for lines in own] for own in (after, before)]
    old, score = (statistics.fmean(one.about["bleu"] for one in own) for own in (base, new))
    method = "randomisation over sentences and seeds"
    return [Difference(label, f"mean BLEU {tokenizer}", old, score, p_value(counts[0], counts[1]), method)]


def describe_difference(one: Difference, baseline: str) -> str:
    """Return a sentence about a difference."""
    result = "significant" if one.p <= SIGNIFICANT else "not significant: the choice of sentences alone can explain it"
    metric = f"{one.metric} (lower is better)" if one.metric.startswith("TER") else one.metric
    return f"{one.group} has {one.change:+.2f} {metric} compared with {baseline}, p = {one.p:.4f}: {result}."


def choose_examples(text: TestSet, hypotheses: Sequence[Sequence[str]]) -> list[Example]:
    """Return the lines with the largest gains and losses of sentence chrF from the first to the last group, and others.

    The others are evenly spread. Equal translations of all groups are omitted.
    """
    chrf, references = CHRF(), list(zip(*text.references, strict=True))
    rows = [row for row in range(len(references)) if len({lines[row] for lines in hypotheses}) > 1]
    gains = {
        row: chrf.sentence_score(hypotheses[-1][row], list(references[row])).score
        - chrf.sentence_score(hypotheses[0][row], list(references[row])).score
        for row in rows
    }
    ordered = sorted(rows, key=lambda row: -gains[row])
    spread = rows[:: max(1, len(rows) // SENTENCES)][:SENTENCES]
    chosen = dict.fromkeys([*ordered[:SENTENCES], *ordered[-SENTENCES:], *spread])
    return [
        Example(
            row + 1,
            text.sources[row] if text.sources else None,
            references[row][0],
            [lines[row] for lines in hypotheses],
        )
        for row in chosen
    ]
