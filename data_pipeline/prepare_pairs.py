"""Create the prepared data of a translation task: load, filter, train the tokenizer, tokenize, write."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate, chain, islice, pairwise, starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from common.errors import InputError
from common.notes import keep_notes
from common.progress_bar import ProgressBar
from common.text import UNICODE_RULE, shorten, unify
from data_pipeline.config import DataConfig
from data_pipeline.group_files import Arrays, GroupFiles, Step
from data_pipeline.sources.columns import quote
from data_pipeline.sources.corpus import Note, iterate_pairs, load_corpora
from data_pipeline.sources.filters import (
    LABELS,
    FilterReason,
    FilterReasons,
    count_reasons,
    exceeds_every_tokenizer,
    filter_lengths,
    filter_text,
    find_first,
    find_ranked,
    format_counts,
    mark_duplicates,
    mark_held_out,
    pair_hash,
)
from data_pipeline.sources.hub import NoSuchSplit
from data_pipeline.sources.names import corpus_value, find_tokenizer
from data_pipeline.token_store import TokenStoreWriter, smallest_type
from data_pipeline.tokenizers.sentence_piece import Tokenizer, normalize, train_tokenizer
from data_pipeline.trees import NUMBERS, TREE_LANG
from data_pipeline.worker_pool import is_large

if TYPE_CHECKING:  # slow import, not needed if the data are in the cache
    from datasets import Dataset

Texts = tuple[list[str], list[str]]
"""Sources and targets."""
Flat = tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]
"""Ids of sentences, one after the other, and the lengths of the sentences."""
PairHashes = npt.NDArray[np.uint64]
_Task = tuple["Dataset", FilterReasons, list[tuple[Tokenizer, range]]]
"""A group, its filter reasons, and the tokenizer of each direction with its pairs in the group."""
GROUP = 100_000
"""Sentence pairs that a process filters or tokenizes at once."""
TOKENIZER = "tokenizer.model"
REASONS = "reasons.npz"
"""File with the filter reasons of all pairs, which other hosts need to tokenize."""
EXAMPLES = 3
"""Number of training pairs that the summary shows, and of dropped pairs in the report for each filter reason."""
EXAMPLE_CHARACTERS = 300
"""Longest text of a dropped pair in the report. Of a longer one, the beginning and the number of characters are."""
OLD_LABELS = {
    "a side is empty": LABELS[FilterReason.EMPTY],
    "target is the source": LABELS[FilterReason.COPY],
    "occurred before": LABELS[FilterReason.DUPLICATE],
}
"""Names of filter reasons in reports of older versions."""


def prepare_pairs(config: DataConfig, result: Path, work: Path, files: GroupFiles, quiet: bool) -> None:
    """Write tokenizer, token stores of both splits, validation text and `report.json` to the folder `result`.

    Args:
        work: empty folder for intermediate files.
        files: files of a large corpus that several processes prepare. Their folder need not exist.
        quiet: show no progress bars and no notes.

    Raises as `prepare`.
    """
    notes: list[str] = []
    of_train, of_valid, reasons, changed = _load(config, work, files, quiet, keep_notes(notes, quiet))
    train, valid = of_train.dataset, of_valid.dataset
    kept = reasons == FilterReason.KEPT
    _reject_empty(reasons, of_train, "training")
    tokenizer = _make_tokenizer(train, kept, config, result, files)

    if is_large(len(train)):
        _share(result / TOKENIZER, reasons, files)
    encode = _Encoder(tokenizer, result, files, quiet)
    encode(train, reasons, "train", _encoding(of_train, reasons, tokenizer, config))
    valid_reasons = _filter_valid(valid, config)
    encode(valid, valid_reasons, "valid", _encoding(of_valid, valid_reasons, tokenizer, config, of_valid=True))
    _reject_empty(reasons, of_train, "training")
    _reject_empty(valid_reasons, of_valid, "validation")
    with (result / "valid.jsonl").open("w", encoding="utf-8", newline="\n") as out:
        for texts in _select(valid, valid_reasons == FilterReason.KEPT):
            out.writelines(json.dumps(pair, ensure_ascii=False) + "\n" for pair in zip(*texts, strict=True))
    report: dict[str, Any] = {"train": count_reasons(reasons), "valid": count_reasons(valid_reasons), "notes": notes}
    kept_pairs = zip(*next(_select(train, reasons == FilterReason.KEPT)), strict=True)
    report["examples"] = list(islice(kept_pairs, EXAMPLES))
    report["dropped"] = {"train": _dropped(train, reasons), "valid": _dropped(valid, valid_reasons)}
    if changed:
        report["changed_pairs"] = changed
    if config.has_directions:
        report["directions"] = {
            name: {"train": count_reasons(_of(own, reasons)), "valid": count_reasons(_of(held, valid_reasons))}
            for name, own, held in zip(config.train, of_train.parts, of_valid.parts, strict=True)
        }
    (result / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


class PairsHelper:
    """Computes groups of a large corpus that another process prepares.

    Args:
        work: empty folder for intermediate files.
        files: those of the other process.
        quiet: show no progress bars.
    """

    def __init__(self, config: DataConfig, work: Path, files: GroupFiles, quiet: bool) -> None:
        self._config, self._work, self._files, self._quiet = config, work, files, quiet

    def help(self) -> None:
        """Compute what no other process computes now. Return if nothing is left, or if the corpus is not large."""
        try:
            if (step := self._step()) is not None:
                computed = self._files.compute(step, range(step.groups))
                with ProgressBar(f"{step.name} here", None, "groups", show=not self._quiet, delay=1) as bar:
                    for _ in computed:
                        bar.update(1)
        except FileNotFoundError:
            if self._files.started:  # otherwise the other process has finished
                raise

    def _step(self) -> Step | None:
        """Return the step of the other process; None if its corpus is not large or not loaded."""
        if (self._files.folder / REASONS).exists():
            return self._encoding
        return self._filtering if self._files.started else None

    @cached_property
    def _train(self) -> "_Pairs":
        return _load_train(self._config, self._work, self._files.processes, note=lambda _: None)

    @cached_property
    def _filtering(self) -> Step:
        return _filtering(self._train.dataset, self._config)

    @cached_property
    def _encoding(self) -> Step:
        tokenizer = Tokenizer(self._files.folder / TOKENIZER, self._config.normalize_unicode)
        (reasons,) = self._files.load(REASONS)
        return _encoding(self._train, reasons, tokenizer, self._config)


@dataclass(frozen=True)
class _Pairs:
    """The pairs of all directions, one direction after the other."""

    dataset: "Dataset"
    sizes: tuple[int, ...]
    """Number of pairs of each direction."""

    @classmethod
    def join(cls, datasets: "Sequence[Dataset]") -> "_Pairs":
        """Return the pairs of these directions."""
        from datasets import concatenate_datasets

        return cls(concatenate_datasets(list(datasets)), tuple(map(len, datasets)))

    @property
    def parts(self) -> list[range]:
        """The pairs of each direction."""
        return list(starmap(range, pairwise(accumulate(self.sizes, initial=0))))

    def directions(self, start: int, end: int) -> list[tuple[int, range]]:
        """Return the number of each direction that has pairs from `start` to `end`, and these pairs from `start` on."""
        inside = (range(max(own.start, start) - start, min(own.stop, end) - start) for own in self.parts)
        return [(number, own) for number, own in enumerate(inside) if own]


def _of(pairs: range, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the values of these pairs, which can be set."""
    return values[pairs.start : pairs.stop]


def count_usable_pairs(config: DataConfig, folder: Path, threads: int = 1) -> int:
    """Return how many training pairs the filters of texts keep. `folder` is for intermediate files.

    Filters of lengths in tokens need the vocabulary and are not applied. Raises as `prepare`.
    """
    with tempfile.TemporaryDirectory(dir=folder) as work:
        files = GroupFiles(Path(work, "groups"), threads)
        _, _, reasons, _ = _load(config, Path(work), files, quiet=True, note=lambda _: None)
    return int((reasons == FilterReason.KEPT).sum())


def describe_pairs(report: dict[str, Any]) -> str:
    """Return the numbers of training and validation pairs in words."""
    train, valid = (report[split][LABELS[FilterReason.KEPT]] for split in ("train", "valid"))
    return f"{train:,} training and {valid:,} validation pairs"


def summarise_pairs(report: dict[str, Any]) -> str:
    """Return a table of pairs read, dropped and kept, the first pairs, and sentences on pairs changed or held out."""
    splits = {split: report[split] for split in ("train", "valid")}
    counts = format_counts(
        {split: {OLD_LABELS.get(label, label): n for label, n in found.items()} for split, found in splits.items()}
    )
    examples = [f"pair {i}      {quote(source)} -> {quote(target)}" for i, (source, target) in _examples(report)]
    sentences = []
    if changed := report.get("changed_pairs", 0):
        sentences.append(f"{changed:,} training pairs were changed: {UNICODE_RULE} (data.normalize_unicode)")
    if report["train"][LABELS[FilterReason.HELD_OUT]]:
        sentences.append(
            f"{report['valid']['read']:,} training pairs are held out for validation: "
            f"data.valid is not set, and data.train has no validation split"
        )
    directions = [f"{name}  {describe_pairs(found)}" for name, found in report.get("directions", {}).items()]
    return "\n".join([counts, *directions, *examples, *sentences])


def _examples(report: dict[str, Any]) -> Iterable[tuple[int, Any]]:
    return enumerate(report.get("examples", []), start=1)  # older versions saved none


def _dropped(dataset: "Dataset", reasons: FilterReasons) -> dict[str, list[tuple[str, str]]]:
    """Return the first pairs that each filter dropped, by the label of the filter."""
    found = {label: find_first(reasons, reason, EXAMPLES) for reason, label in LABELS.items() if reason}
    return {
        label: [(shorten(source, EXAMPLE_CHARACTERS), shorten(target, EXAMPLE_CHARACTERS)) for source, target in pairs]
        for label, indices in found.items()
        if (pairs := list(_pairs(dataset.select(indices))))
    }


def _load(
    config: DataConfig, work: Path, files: GroupFiles, quiet: bool, note: Note
) -> tuple[_Pairs, _Pairs, FilterReasons, int]:
    """Return training pairs, validation pairs, filter reasons, and the number of training pairs that `unify` changes.

    The filter reason of each training pair is the one that follows from its text alone.
    """
    import datasets

    bars = not datasets.are_progress_bars_disabled()
    if quiet:
        datasets.disable_progress_bars()
    try:
        train = _load_train(config, work, files.processes, note)
        given = [_load_valid(own, work, files.processes, note) for own in config.by_direction()]
    finally:
        if bars:
            datasets.enable_progress_bars()
    reasons, hashes, changed = _filter_train(train.dataset, config, work, files, quiet)
    valid: list[Dataset] = []
    for pairs, own in zip(given, train.parts, strict=True):
        if config.drop_duplicates:
            mark_duplicates(_of(own, reasons), _of(own, hashes))
        if pairs is None:
            _reject_empty(reasons, train, "training")
            pairs = train.dataset.select(own.start + _hold_out(_of(own, reasons), _of(own, hashes), config))
        valid.append(pairs)
    return train, _Pairs.join(valid), reasons, changed


def _load_train(config: DataConfig, work: Path, threads: int, note: Note) -> _Pairs:
    return _Pairs.join([load_corpora(own.train, own, "train", work, threads, note) for own in config.by_direction()])


def _load_valid(config: DataConfig, work: Path, threads: int, note: Note) -> "Dataset | None":
    """Return the validation pairs. None: they must be held out, because neither data.valid nor data.train has any."""
    value = corpus_value(config, "valid")
    if value is None:
        return None
    try:
        return load_corpora(value, config, "valid", work, threads, note)
    except NoSuchSplit:
        if config.valid is not None:
            raise
        return None


def _filter_train(
    dataset: "Dataset", config: DataConfig, work: Path, files: GroupFiles, quiet: bool
) -> tuple[FilterReasons, PairHashes, int]:
    reasons = np.zeros(len(dataset), np.uint8)
    hashes = np.memmap(work / "hashes", np.uint64, "w+", shape=(len(dataset),))
    done, changed = 0, 0
    for found in _results(dataset, _filtering(dataset, config), files, "filtering", quiet):
        end = done + len(found[0])
        reasons[done:end], hashes[done:end] = found[:2]
        changed += int(found[2])
        done = end
    return reasons, hashes, changed


def _filtering(dataset: "Dataset", config: DataConfig) -> Step:
    return Step("filtered", partial(_filter_group, config), partial(_group, dataset), _groups(dataset))


def _filter_group(config: DataConfig, group: "Dataset") -> Arrays:
    """Return the filter reasons and the hashes of a group, and the number of pairs that `unify` changes."""
    reasons, hashes = np.zeros(len(group), np.uint8), np.zeros(len(group), np.uint64)
    unicode, changed = config.normalize_unicode, 0
    for i, (source, target) in enumerate(_pairs(group)):
        changed += unicode and (unify(source) != source or unify(target) != target)
        source, target = normalize(source, unicode), normalize(target, unicode)
        reasons[i] = filter_text(source, target, config)
        hashes[i] = pair_hash(source, target)
    return reasons, hashes, np.array(changed)


def _filter_valid(dataset: "Dataset", config: DataConfig) -> FilterReasons:
    unicode = config.normalize_unicode
    too_long = (
        exceeds_every_tokenizer(normalize(source, unicode), normalize(target, unicode), config.max_length)
        for source, target in _pairs(dataset)
    )
    dropped = np.fromiter(too_long, np.bool_, count=len(dataset))
    return np.where(dropped, FilterReason.TOO_LONG, FilterReason.KEPT).astype(np.uint8)


def _hold_out(reasons: FilterReasons, hashes: PairHashes, config: DataConfig) -> npt.NDArray[np.int64]:
    """Return random validation pairs. Mark them, and every pair that equals one of them, as held out."""
    kept = reasons == FilterReason.KEPT
    usable = int(kept.sum())
    wanted = min(config.valid_pairs, usable // 20)
    if wanted == 0:
        raise InputError(
            f"data.train has only {usable} usable pairs, too few to hold out one in twenty for validation. "
            "Set data.valid."
        )
    held = find_ranked(kept, np.random.default_rng(config.seed).choice(usable, wanted, replace=False))
    mark_held_out(reasons, hashes, held)
    return held


def _make_tokenizer(
    dataset: "Dataset", kept: npt.NDArray[np.bool_], config: DataConfig, result: Path, files: GroupFiles
) -> Tokenizer:
    trained = files.folder / TOKENIZER  # by a process that was ended before it had prepared the data
    if config.tokenizer is not None or trained.exists():
        file = trained if config.tokenizer is None else find_tokenizer(config.tokenizer)
        tokenizer = Tokenizer(file, config.normalize_unicode)
        if missing := set(_whole_words(dataset, kept, config)) - set(tokenizer.whole_words):
            raise InputError(
                f"data.tokenizer={config.tokenizer} would split {min(missing)}, a token of the trees of data.train. "
                "Use the tokenizer of a model that was trained on trees, or leave data.tokenizer out"
            )
        tokenizer.save(result)
        return tokenizer
    assert config.vocab_type in ("bpe", "unigram"), "DataConfig checks it"
    return train_tokenizer(
        _sample(dataset, kept, config),
        result / TOKENIZER,
        config.vocab_size,
        config.vocab_type,
        config.normalize_unicode,
        _whole_words(dataset, kept, config),
        list(dict.fromkeys(own.target_lang for own in config.by_direction())) if config.has_directions else [],
    )


def _whole_words(dataset: "Dataset", kept: npt.NDArray[np.bool_], config: DataConfig) -> list[str]:
    """Return the words that the tokenizer must not split: the tokens of trees."""
    if config.target_lang != TREE_LANG:
        return []
    found = {token for _, target in _select(dataset, kept) for tree in target for token in tree.split()}
    return sorted(found | set(NUMBERS if config.number_words else ()))


def _sample(dataset: "Dataset", kept: npt.NDArray[np.bool_], config: DataConfig) -> Iterator[str]:
    """Yield the kept sentences that the tokenizer is trained on: all, or a random sample of them."""
    most = config.tokenizer_sentences // 2
    usable = int(kept.sum())
    if usable > most:
        chosen = find_ranked(kept, np.random.default_rng(config.seed).choice(usable, most, replace=False))
        kept = np.zeros_like(kept)
        kept[chosen] = True
    for source, target in _select(dataset, kept):
        yield from source
        if config.target_lang != TREE_LANG:  # all tokens of trees are in the vocabulary
            yield from target


def _share(tokenizer: Path, reasons: FilterReasons, files: GroupFiles) -> None:
    """Give other hosts what they need to tokenize."""
    with files.publish(TOKENIZER) as copy:
        shutil.copyfile(tokenizer, copy)
    files.save(REASONS, reasons)


@dataclass(frozen=True)
class _Encoder:
    tokenizer: Tokenizer
    result: Path
    files: GroupFiles
    quiet: bool

    def __call__(self, dataset: "Dataset", reasons: FilterReasons, name: str, step: Step) -> None:
        """Write the ids of the kept pairs whose token counts pass the filters, and set the reasons of the others."""
        vocab_size, done = self.tokenizer.vocab_size, 0
        with (
            TokenStoreWriter(self.result / f"{name}.src", vocab_size) as src_out,
            TokenStoreWriter(self.result / f"{name}.tgt", vocab_size) as tgt_out,
        ):
            for new_reasons, *ids in _results(dataset, step, self.files, f"tokenizing {name}", self.quiet):
                reasons[done : done + len(new_reasons)] = new_reasons
                src_out.append_flat(*ids[:2])
                tgt_out.append_flat(*ids[2:])
                done += len(new_reasons)


def _encoding(
    pairs: _Pairs, reasons: FilterReasons, tokenizer: Tokenizer, config: DataConfig, of_valid: bool = False
) -> Step:
    encode = partial(_encode_group, tokenizer, config.max_length, None if of_valid else config.max_ratio)
    tokenizers = [tokenizer.for_target(own.target_lang) if config.has_directions else tokenizer
                  for own in config.by_direction()]  # fmt: skip

    def task(number: int) -> _Task:
        start, end = number * GROUP, min((number + 1) * GROUP, len(pairs.dataset))
        parts = [(tokenizers[direction], part) for direction, part in pairs.directions(start, end)]
        return _group(pairs.dataset, number), reasons[start:end], parts

    return Step("valid" if of_valid else "tokenized", encode, task, _groups(pairs.dataset))


def _encode_group(tokenizer: Tokenizer, max_length: int | None, max_ratio: float | None, task: _Task) -> Arrays:
    """Return the filter reasons of a group, and of the pairs that are still kept: ids and lengths of the sources, ids
    and lengths of the targets."""
    group, reasons, parts = task
    reasons = reasons.copy()
    kept = np.flatnonzero(reasons == FilterReason.KEPT)
    done, src_out, tgt_out = 0, _empty(tokenizer), _empty(tokenizer)
    for own, part in parts:
        chosen = np.zeros(len(reasons), np.bool_)
        chosen[part.start : part.stop] = _of(part, reasons) == FilterReason.KEPT
        for source, target in _select(group, chosen):
            src, tgt = own.encode(source), own.encode_target(target)
            new_reasons = filter_lengths(_lengths(src), _lengths(tgt), max_length, max_ratio)
            reasons[kept[done : done + len(src)]] = new_reasons
            for out, rows in ((src_out, src), (tgt_out, tgt)):
                kept_rows = [ids for ids, reason in zip(rows, new_reasons, strict=True) if not reason]
                out.append(_flatten(kept_rows, tokenizer))
            done += len(src)
    return reasons, *_join(src_out), *_join(tgt_out)


def _empty(tokenizer: Tokenizer) -> list[Flat]:
    return [_flatten([], tokenizer)]


def _flatten(rows: list[list[int]], tokenizer: Tokenizer) -> Flat:
    lengths = _lengths(rows)
    dtype = smallest_type(tokenizer.vocab_size - 1)
    return np.fromiter(chain.from_iterable(rows), dtype, count=int(lengths.sum())), lengths


def _join(parts: list[Flat]) -> Flat:
    ids, lengths = zip(*parts, strict=True)
    return np.concatenate(ids), np.concatenate(lengths)


def _lengths(sentences: list[list[int]]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, sentences), np.int64, count=len(sentences))


def _results(dataset: "Dataset", step: Step, files: GroupFiles, what: str, quiet: bool) -> Iterator[Arrays]:
    """Yield the results of all groups, in their order. A large corpus is computed by several processes and hosts."""
    with ProgressBar(what, len(dataset), "pairs", show=not quiet) as bar:
        if not is_large(len(dataset)):
            for group in map(step.task, range(step.groups)):
                yield step.function(group)
                bar.update(GROUP)
            return
        for _ in files.compute_all(step, quiet):
            bar.update(GROUP)
    yield from files.read(step)


def _groups(dataset: "Dataset") -> int:
    """Return the number of groups of `GROUP` pairs."""
    return -(-len(dataset) // GROUP)


def _group(dataset: "Dataset", number: int) -> "Dataset":
    return dataset.select(range(number * GROUP, min((number + 1) * GROUP, len(dataset))))


def _pairs(dataset: "Dataset") -> Iterator[tuple[str, str]]:
    for source, target in iterate_pairs(dataset):
        yield from zip(source, target, strict=True)


def _select(dataset: "Dataset", chosen: npt.NDArray[np.bool_]) -> Iterator[Texts]:
    """Yield the chosen pairs in groups."""
    start = 0
    for source, target in iterate_pairs(dataset):
        indices = np.flatnonzero(chosen[start : start + len(source)])
        if len(indices):
            yield [source[i] for i in indices], [target[i] for i in indices]
        start += len(source)


def _reject_empty(reasons: FilterReasons, pairs: _Pairs, what: str) -> None:
    """Raise InputError if a direction has no pair that is kept."""
    for number, own in enumerate(pairs.parts, 1):
        if not (_of(own, reasons) == FilterReason.KEPT).any():
            counts = ", ".join(f"{label}: {n:,}" for label, n in count_reasons(_of(own, reasons)).items() if n)
            where = f" of direction {number}" if len(pairs.sizes) > 1 else ""
            raise InputError(f"no {what} pair{where} is left after the filters ({counts})")
