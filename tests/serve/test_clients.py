"""A client of LibreTranslate, and raw requests, against a running server."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from libretranslatepy import LibreTranslateAPI

from benchmarks.server_process import running_server
from evaluate.config import DecodeConfig
from evaluate.translator import Translator
from tests.tiny_model import TEXT

FIELDS = {"q": TEXT[0], "source": "en", "target": "de"}


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with running_server("--model", str(folder), "--max-extra", "4") as server:
        yield server.url


@pytest.fixture(scope="module")
def german(folder: Path) -> str:
    """The translation of `TEXT[0]`."""
    return Translator.from_pretrained(folder, DecodeConfig(max_extra=4))([TEXT[0]])[0]


def test_libretranslatepy_translates_and_lists_languages(url: str, german: str) -> None:
    client = LibreTranslateAPI(url)
    assert client.translate(TEXT[0], "en", "de") == german
    assert [language["code"] for language in client.languages()] == ["de", "en"]


@pytest.mark.parametrize("kind", ["form", "JSON", "query string of GET", "query string of POST"])
def test_server_answers_raw_request(url: str, german: str, kind: str) -> None:
    query, headers = urlencode(FIELDS), {}
    if kind == "form":
        request = urllib.request.Request(f"{url}/translate", query.encode())
    elif kind == "JSON":
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/translate", json.dumps(FIELDS).encode(), headers)
    else:
        request = urllib.request.Request(f"{url}/translate?{query}", method=kind.rpartition(" ")[2])
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer) == {"translatedText": german, "confidence": None}
