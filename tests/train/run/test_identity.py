"""What differs between two identities of a run."""

from typing import Any

import pytest

from train.run.identity import find_changed_files, has_same_data

A, B, C = (
    {"setting": "data.train", "file": f"{name}.en", "bytes": size, "sha256": name}
    for name, size in (("a", 10), ("b", 10), ("c", 12))
)


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ([A], [A | {"file": "moved.en"}], []),
        ([A], [B | {"file": "a.en"}], ["a.en has other content than before (of equal size)"]),
        ([A], [C], ["c.en has other content than a.en had (10 bytes before, 12 now)"]),
        ([A, B], [B, A], ["the same files in another order"]),
        ([A, B], [A, C], ["c.en has other content than b.en had (10 bytes before, 12 now)"]),
        ([A], [A, C], ["c.en was added"]),
        ([A, B], [C], ["c.en was added", "a.en was removed", "b.en was removed"]),
    ],
)
def test_find_changed_files_describes_changes(old: list[Any], new: list[Any], changes: list[str]) -> None:
    found = find_changed_files({"files": old}, {"files": new})
    assert found == {"data.train": [f"data.train: {change}" for change in changes]}


def test_find_changed_files_omits_settings_without_local_files() -> None:
    assert find_changed_files({"files": [A]}, {"files": []}) == {}
    assert find_changed_files({}, {"files": [A]}) == {}


def test_has_same_data_compares_prepared_data_or_else_fingerprint() -> None:
    now = {"data": "x", "prepared": {"ids": "1"}}
    assert has_same_data({"data": "y", "prepared": {"ids": "1"}}, now)
    assert not has_same_data({"data": "x", "prepared": {"ids": "2"}}, now)
    assert has_same_data({"data": "x"}, now)
    assert not has_same_data({"data": "y"}, now)
