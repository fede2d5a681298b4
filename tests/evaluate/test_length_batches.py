"""Batches of pairs of similar length."""

from evaluate.length_batches import IdPair, length_batches, map_batches

PAIRS = [IdPair((1,) * n, (2,) * (n % 3)) for n in (3, 1, 5, 3, 2, 5, 4)]


def at_most_10_positions(rows: int, source_tokens: int, output_tokens: int) -> bool:
    return rows * (source_tokens + output_tokens) <= 10


def output_length(pair: IdPair) -> int:
    return len(pair.target)


def run(seen: list[list[IdPair]], pairs: list[IdPair]) -> list[int]:
    def compute(batch: list[IdPair]) -> list[int]:
        seen.append(batch)
        return [len(pair.source) for pair in batch]

    def skip(pair: IdPair) -> bool:
        return len(pair.source) == 1

    return map_batches(compute, pairs, at_most_10_positions, output_length, skip=skip, skipped=-1, progress=False)


def test_map_batches_returns_results_in_order_and_skips_pairs() -> None:
    assert run([], PAIRS) == [3, -1, 5, 3, 2, 5, 4]
    assert run([], []) == []


def test_map_batches_computes_equal_pairs_once() -> None:
    seen: list[list[IdPair]] = []
    run(seen, PAIRS)
    computed = [pair for batch in seen for pair in batch]
    assert sorted(len(pair.source) for pair in computed) == [2, 3, 4, 5]


def test_length_batches_are_limited_and_begin_with_longest_source() -> None:
    batches = list(length_batches(dict.fromkeys(PAIRS), at_most_10_positions, output_length))
    lengths = [len(pair.source) for batch in batches for pair in batch]
    assert lengths == sorted(lengths, reverse=True)
    for batch in batches:
        longest_output = max(map(output_length, batch))
        assert len(batch) == 1 or at_most_10_positions(len(batch), len(batch[0].source), longest_output)
    assert len(batches) < len(set(PAIRS))


def test_length_batches_do_not_depend_on_order() -> None:
    forward = list(length_batches(dict.fromkeys(PAIRS), at_most_10_positions, output_length))
    assert list(length_batches(dict.fromkeys(PAIRS[::-1]), at_most_10_positions, output_length)) == forward
