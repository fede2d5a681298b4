"""The field `glossary` of the server's routes."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from evaluate.glossary import has_term
from tests.serve.small_service import ENGLISH, make_models

ASKED = {"q": ENGLISH, "source": "en", "target": "de"}
TSV = "cat\tHund\nsmall\tklein\n"


@pytest.mark.parametrize(
    "fields",
    [
        {"json": {**ASKED, "glossary": TSV}},
        {"json": {**ASKED, "glossary": [["cat", "Hund"], ["small", "klein"]]}},
        {"data": {**ASKED, "glossary": TSV}},
        {"data": {**ASKED, "glossary": ["cat\tHund", "small\tklein"]}},
        {"params": {**ASKED, "glossary": TSV}},
    ],
)
def test_translation_has_the_terms(client: TestClient, fields: dict[str, Any]) -> None:
    answer = client.post("/translate", **fields)
    assert answer.status_code == 200
    assert all(has_term(answer.json()["translatedText"], term) for term in ("Hund", "klein"))


def test_request_without_terms_is_unchanged(client: TestClient, folder: Path) -> None:
    expected = make_models(folder).directions["en", "de"]([ENGLISH])[0]
    for glossary in (None, "", [], "dog\tHund"):
        answer = client.post("/translate", json={**ASKED, "glossary": glossary})
        assert answer.json()["translatedText"] == expected


@pytest.mark.parametrize(
    ("glossary", "problem"),
    [
        ("cat", "line 1 of glossary has 1 column; it must have 2 columns of text"),
        ("cat\tHund\ncat\tKatze", "line 2 of glossary translates 'cat' as 'Katze', but line 1 as 'Hund'. Remove one."),
        ([["cat"]], "pair 1 of glossary has 1 column"),
        ([["cat", 3]], "pair 1 of glossary is"),
        ([3], "pair 1 of glossary is 3"),
        ({"cat": "Hund"}, "glossary must be lines with two columns, or a list of pairs of terms"),
        ([["cat", "x" * 400]], "terms of a sentence need"),
    ],
)
def test_glossary_that_cannot_be_used_is_refused(client: TestClient, glossary: Any, problem: str) -> None:
    answer = client.post("/translate", json={**ASKED, "glossary": glossary})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Invalid request: ")
    assert problem in answer.json()["error"]


def test_file_is_translated_with_a_glossary(client: TestClient) -> None:
    answer = client.post(
        "/translate_file", data={"source": "en", "target": "de", "glossary": TSV}, files={"file": ("a.txt", ENGLISH)}
    )
    assert has_term(client.get(answer.json()["translatedFileUrl"]).text, "Hund")
