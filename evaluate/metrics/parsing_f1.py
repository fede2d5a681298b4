"""Labelled brackets of parsed trees, counted as the program EVALB counts them with its file COLLINS.prm (section 6.3).

A bracket is a constituent: its label, and the words that it begins and ends with. These rules are EVALB's:

- Words with the tags `DELETED` are removed, from the gold tree by its tags and from the parsed tree by its own tags. So
  a bracket may begin or end with a comma or not. A bracket without words, and a bracket with a label in `DELETED`, does
  not count. Brackets are not tags: `-LRB-` and `-RRB-` are words like others.
- Labels end before the first `-` or `=`. ADVP and PRT are the same label.
- Equal brackets of a tree are matched one to one.
- A parsed bracket crosses a gold bracket if they overlap and neither contains the other. A parsed bracket counts once.
- If the words that remain are not the same in both trees, the sentence is an error. If no word remains in the parsed
  tree, the sentence is skipped. Neither adds to any figure, so a parser that loses sentences is not punished.
- Precision, recall and tagging accuracy are ratios of the sums over all sentences; complete match and crossing brackets
  are means over the sentences that count. The length of a sentence has all words but traces.

One rule differs: EVALB counts a root without a label, or with the label ROOT or S1, as a bracket. Here no root counts.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from common.errors import InputError
from data_pipeline.trees import ROOTS, TRACE, Tree, with_tags

DELETED = frozenset(["TOP", TRACE, ",", ":", "``", "''", "."])
"""DELETE_LABEL of COLLINS.prm."""
SAME = {"PRT": "ADVP"}
"""EQ_LABEL of COLLINS.prm."""
SHORT = 40
"""CUTOFF_LEN of COLLINS.prm: number of words of a short sentence, at most."""
LENGTHS = (10, 20, 30, 40, 60)
"""Numbers of words at which a group of sentences ends."""


@dataclass(frozen=True)
class TreeScore:
    """How a parsed tree differs from the gold tree."""

    length: int
    """Words of the gold tree, traces excluded."""
    problem: str = ""
    """Why the sentence does not count; "" if it counts."""
    skipped: bool = False
    """True: no word remains in the parsed tree. A sentence with another problem is an error."""
    gold: Counter[str] = field(default_factory=Counter)
    """Number of brackets of the gold tree, by label."""
    parsed: Counter[str] = field(default_factory=Counter)
    """The same of the parsed tree."""
    matched: Counter[str] = field(default_factory=Counter)
    """Number of brackets that are in both trees, by label."""
    crossing: int = 0
    """Number of parsed brackets that cross a gold bracket."""
    words: int = 0
    """Words without those of DELETED."""
    correct_tags: int = 0
    """Number of these words with the same tag in both trees."""

    @property
    def complete(self) -> bool:
        """True if all brackets match."""
        return self.gold.total() == self.parsed.total() == self.matched.total()


@dataclass(frozen=True)
class Brackets:
    """Numbers of brackets, and their ratios in percent; 0 if there is nothing to divide by."""

    gold: int
    parsed: int
    matched: int

    @property
    def recall(self) -> float:
        """Share of the gold brackets that are matched."""
        return _percent(self.matched, self.gold)

    @property
    def precision(self) -> float:
        """Share of the parsed brackets that are matched."""
        return _percent(self.matched, self.parsed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _percent(2 * self.matched, self.gold + self.parsed)


@dataclass(frozen=True)
class ParsingScore:
    """Sums and means over some sentences. Shares are in percent."""

    sentences: int
    errors: int
    skipped: int
    brackets: Brackets
    complete_match: float
    """Share of the sentences whose brackets all match."""
    crossing: float
    """Mean number of crossing brackets per sentence."""
    no_crossing: float
    """Share of the sentences without crossing brackets."""
    two_crossing: float
    """Share of the sentences with at most two crossing brackets."""
    tagging_accuracy: float
    """Share of the words with the right tag."""


@dataclass(frozen=True)
class ParsingReport:
    """Scores of parsed trees: of all sentences, of short ones, by length and by label."""

    trees: tuple[TreeScore, ...]

    @property
    def all(self) -> ParsingScore:
        """Score of all sentences."""
        return sum_scores(self.trees)

    @property
    def short(self) -> ParsingScore:
        """Score of the sentences with at most SHORT words."""
        return sum_scores([tree for tree in self.trees if tree.length <= SHORT])

    def by_length(self) -> dict[str, ParsingScore]:
        """Return the score of each group of sentences of similar length that has sentences."""
        groups: dict[str, list[TreeScore]] = {}
        for low, high in zip((0, *LENGTHS), (*LENGTHS, None), strict=True):
            name = f"{low + 1} to {high}" if high else f"over {low}"
            groups[name] = [tree for tree in self.trees if low < tree.length and (high is None or tree.length <= high)]
        return {name: sum_scores(trees) for name, trees in groups.items() if trees}

    def by_label(self) -> dict[str, Brackets]:
        """Return the brackets with each label, the most frequent gold label first. ADVP includes PRT."""
        gold, parsed, matched = (
            sum((getattr(tree, name) for tree in self.trees), Counter[str]()) for name in ("gold", "parsed", "matched")
        )
        labels = sorted(gold | parsed, key=lambda label: (-gold[label], -parsed[label], label))
        return {label: Brackets(gold[label], parsed[label], matched[label]) for label in labels}


def score_trees(gold: Sequence[Tree], parsed: Sequence[Tree | None], gold_tags: bool = False) -> ParsingReport:
    """Return the scores of parsed trees; None is a sentence without a parse. Raises InputError if numbers differ.

    Args:
        gold_tags: give the words of the parsed trees the gold tags first, so that the same words are punctuation in
            both trees. All trees must be simplified (`data_pipeline.trees.simplify`).
    """
    if len(gold) != len(parsed):
        raise InputError(f"there are {len(gold):,} gold trees and {len(parsed):,} parsed trees. Give one for each")
    if gold_tags:
        parsed = [_replace_tags(other, tree) for tree, other in zip(gold, parsed, strict=True)]
    return ParsingReport(tuple(map(score_tree, gold, parsed)))


def _replace_tags(parsed: Tree | None, gold: Tree) -> Tree | None:
    """Return a parsed tree with the gold tags; unchanged if it has another number of words, which is an error."""
    return with_tags(parsed, gold.tags) if parsed is not None and len(parsed.words) == len(gold.words) else parsed


def score_tree(gold: Tree, parsed: Tree | None) -> TreeScore:
    """Return the score of one parsed tree."""
    one, length = _read(gold)
    other, _ = _read(parsed) if parsed is not None else (_Sentence(), 0)
    if not other.words:
        return TreeScore(length, "no parse", skipped=True)
    if problem := _find_problem(one.words, other.words):
        return TreeScore(length, problem)
    gold_brackets, brackets = Counter(one.brackets), Counter(other.brackets)
    spans = {(start, end) for _, start, end in gold_brackets}
    return TreeScore(
        length,
        gold=_count_labels(gold_brackets),
        parsed=_count_labels(brackets),
        matched=_count_labels(gold_brackets & brackets),
        crossing=sum(_crosses(start, end, spans) for _, start, end in other.brackets),
        words=len(one.words),
        correct_tags=sum(SAME.get(a, a) == SAME.get(b, b) for a, b in zip(one.tags, other.tags, strict=True)),
    )


def sum_scores(trees: Iterable[TreeScore]) -> ParsingScore:
    """Return the score of some sentences."""
    trees = list(trees)
    valid = [tree for tree in trees if not tree.problem]
    skipped = sum(tree.skipped for tree in trees)
    gold, parsed, matched = (
        sum(getattr(tree, name).total() for tree in valid) for name in ("gold", "parsed", "matched")
    )
    return ParsingScore(
        len(trees),
        len(trees) - len(valid) - skipped,
        skipped,
        Brackets(gold, parsed, matched),
        complete_match=_percent(sum(tree.complete for tree in valid), len(valid)),
        crossing=_percent(sum(tree.crossing for tree in valid), len(valid)) / 100,
        no_crossing=_percent(sum(tree.crossing == 0 for tree in valid), len(valid)),
        two_crossing=_percent(sum(tree.crossing <= 2 for tree in valid), len(valid)),
        tagging_accuracy=_percent(sum(tree.correct_tags for tree in valid), sum(tree.words for tree in valid)),
    )


@dataclass
class _Sentence:
    """What remains of a tree."""

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    brackets: list[tuple[str, int, int]] = field(default_factory=list)


def _read(tree: Tree) -> tuple[_Sentence, int]:
    """Return what remains of a tree, and its length."""
    found, length = _Sentence(), 0
    starts: list[int] = []
    for node, begins in tree.walk():
        if node.is_preterminal:
            length += node.label != TRACE
            if node.label not in DELETED:
                found.words.append(str(node.children[0]))
                found.tags.append(node.label)
        elif begins:
            starts.append(len(found.words))
        else:
            start, end = starts.pop(), len(found.words)
            label = re.split("[-=]", node.label, maxsplit=1)[0]
            if start < end and label not in DELETED and not (node is tree and node.label in ROOTS):
                found.brackets.append((SAME.get(label, label), start, end))
    return found, length


def _find_problem(gold: list[str], parsed: list[str]) -> str:
    if len(gold) != len(parsed):
        return f"without punctuation and traces, the gold tree has {len(gold)} words, the parsed tree {len(parsed)}"
    pairs = zip(gold, parsed, strict=True)
    return next((f"the word {a!r} of the gold tree is {b!r} in the parsed tree" for a, b in pairs if a != b), "")


def _crosses(start: int, end: int, spans: Iterable[tuple[int, int]]) -> bool:
    return any(left < start < right < end or start < left < end < right for left, right in spans)


def _count_labels(brackets: Counter[tuple[str, int, int]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (label, _, _), number in brackets.items():
        counts[label] += number
    return counts


def _percent(part: float, total: float) -> float:
    return 100 * part / total if total else 0.0
