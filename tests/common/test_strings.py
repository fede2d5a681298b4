"""common/strings.py: iterables of strings, and what is none."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from common.errors import InputError
from common.strings import string_list


def generator() -> Iterator[str]:
    yield from ("a", "b")


@pytest.mark.parametrize(
    "lines", [["a", "b"], ("a", "b"), generator(), map(str, "ab"), np.array(["a", "b"]), {"a": 1, "b": 2}.keys()]
)
def test_string_list_accepts_any_iterable(lines: Iterable[str]) -> None:
    assert string_list(lines) == ["a", "b"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a", r"`lines` must be a list of strings, not one string\. Write"),
        (b"a", "not one string"),
        (None, r"`lines` must be a list of strings, not NoneType\. Write"),
        (7, "not int"),
        ({"a": "b"}, "not dict"),
        (["a", None], "line 6 is None; it must be a string"),
        (["a", float("nan")], "line 6 is nan"),
        ((b for b in [b"a"]), "line 5 is b'a'"),
        (["a\ud800"], r"line 5 contains '\\ud800', a byte or half of a character"),
    ],
)
def test_string_list_rejects_other_things(lines: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        string_list(lines, first_line=5)
