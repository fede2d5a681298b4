"""Directions of translation: names, and the choice of one."""

import pytest

from common.directions import check_directions, choose_direction, model_directions, parse_direction
from common.errors import InputError

THREE = [("en", "de"), ("en", "fr"), ("de", "en")]


def test_parse_direction_returns_languages() -> None:
    assert parse_direction("en-zh_Hans") == ("en", "zh_Hans")


@pytest.mark.parametrize("name", ["en", "en-zh-Hans", "en-en", "-de", "en-", "en-d/e", "", "en-<de>", 7, None])
def test_parse_direction_rejects_other_names(name: object) -> None:
    with pytest.raises(InputError, match="direction"):
        parse_direction(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["en-de", [], ["en-de", "en-de"], [["en", "de"]], {"en-de": 1}, None, ["en"]])
def test_check_directions_rejects_other_values(value: object) -> None:
    with pytest.raises(InputError, match=r"^here"):
        check_directions("here", value)


def test_choose_direction_returns_only_direction_with_languages() -> None:
    assert choose_direction("m", THREE, None, "fr") == ("en", "fr")
    assert choose_direction("m", THREE, "de") == ("de", "en")
    assert choose_direction("m", THREE[:1]) == ("en", "de")


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ((None, None), r"m translates from en to de or en to fr or de to en\. Choose one with --to \(target_lang\)"),
        (("en", None), r"m translates from en to de or en to fr\. Choose one with --to"),
        ((None, "es"), r"m translates from en to de or .*, not to es\. Give another --to, or give another --model"),
        (("fr", "de"), r"not from fr to de\. Give another --from and --to"),
    ],
)
def test_choose_direction_lists_directions_if_none_or_several_fit(
    languages: tuple[str | None, str | None], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        choose_direction("m", THREE, *languages)


def test_choose_direction_asks_for_both_languages_if_targets_repeat() -> None:
    with pytest.raises(InputError, match="Choose one with --from and --to"):
        choose_direction("m", [("en", "de"), ("fr", "de")], None, "de")


def test_model_directions_reads_both_forms() -> None:
    assert model_directions({"directions": ["en-de", "en-fr"]}) == THREE[:2]
    assert model_directions({"source_lang": "en", "target_lang": "de"}) == THREE[:1]
    assert model_directions({}) == []
