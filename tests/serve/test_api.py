"""Requests of LibreTranslate's clients, and requests that are refused."""

import asyncio
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve import fields
from serve.api import create_app
from serve.errors import ApiError
from serve.service import Service
from tests.serve.small_service import CONFIG, ENGLISH, GERMAN, make_models, make_service
from tests.tiny_model import TEXT

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
ASKED = {"q": ENGLISH, "source": "en", "target": "de"}


@pytest.fixture(scope="module")
def german(folder: Path) -> str:
    """The translation of `ENGLISH`."""
    return make_models(folder).directions["en", "de"]([ENGLISH])[0]


def post(client: TestClient, **more: Any) -> tuple[int, Any]:
    """Return status and answer of a JSON request for `ASKED` with other fields."""
    answer = client.post("/translate", json={**ASKED, **more})
    return answer.status_code, answer.json()


def test_translate_reads_json_forms_and_query_string(client: TestClient, german: str) -> None:
    answers = [
        client.post("/translate", json=ASKED),
        client.post("/translate", data=ASKED),
        client.post("/translate", files={name: (None, value) for name, value in ASKED.items()}),
        client.post("/translate", params={**ASKED, "format": "text", "api_key": "none"}),
        client.get("/translate", params=ASKED),
        client.post("/translate", params={"source": "de", "target": "de"}, json=ASKED),
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json()["translatedText"] == german for answer in answers)
    assert all(set(answer.json()) == {"translatedText", "confidence"} for answer in answers)


def test_translate_of_list_answers_lists(client: TestClient, german: str) -> None:
    status, answer = post(client, q=[ENGLISH, "", "42"], alternatives="2")
    assert status == 200
    assert answer["translatedText"] == [german, "", "42"]
    assert answer["alternatives"][0]
    assert answer["alternatives"][1:] == [[], []]
    assert answer["confidence"][1:] == [None, None]
    assert 0 < answer["confidence"][0] < 1
    form = client.post("/translate", data={**ASKED, "q": [ENGLISH, ENGLISH]}).json()
    assert form["translatedText"] == [german, german]


def test_alternatives_are_the_next_translations_of_the_beam(client: TestClient, folder: Path) -> None:
    found = make_models(folder).directions["en", "de"].translate([ENGLISH], n_best=CONFIG.beam)[0]
    _, answer = post(client, alternatives=100)
    assert [answer["translatedText"], *answer["alternatives"]] == list(dict.fromkeys(one.text for one in found))


def test_auto_detects_source_of_each_text(client: TestClient, folder: Path, german: str) -> None:
    _, answer = post(client, source="auto")
    assert answer["translatedText"] == german
    assert answer["detectedLanguage"]["language"] == "en"
    english = make_models(folder).directions["de", "en"]([GERMAN])[0]
    _, answer = post(client, source="auto", target="en", q=[GERMAN, ENGLISH, GERMAN])
    assert answer["translatedText"] == [english, ENGLISH, english]
    assert [found["language"] for found in answer["detectedLanguage"]] == ["de", "en", "de"]
    _, answer = post(client, source="auto", format="html", q=f"<p title='Das ist schwer'>{ENGLISH}</p>")
    assert answer["detectedLanguage"]["language"] == "en"


def test_html_keeps_tags_and_text_is_not_html(client: TestClient, german: str) -> None:
    _, answer = post(client, q=f"<p>{ENGLISH}</p>", format="html")
    assert answer["translatedText"].startswith("<p>")
    assert answer["translatedText"].endswith("</p>")
    _, answer = post(client, q="\U0001f600 <script>alert(1)</script>")
    assert answer["translatedText"] == "\U0001f600 <script>alert(1)</script>"


def test_requests_together_have_the_answers_of_requests_alone(client: TestClient) -> None:
    texts = [*TEXT[:3], f"{TEXT[0]} {TEXT[2]}", "The dog.", f"{TEXT[1]}\n{TEXT[2]}"] * 3
    alone = {text: post(client, q=text) for text in texts}
    with ThreadPoolExecutor(len(texts)) as pool:
        together = list(pool.map(lambda text: post(client, q=text), texts))
    assert together == [alone[text] for text in texts]
    assert {status for status, _ in together} == {200}


def test_other_routes_answer_as_libretranslate(client: TestClient) -> None:
    assert client.get("/languages").json() == [
        {"code": "de", "name": "German", "targets": ["de", "en"]},
        {"code": "en", "name": "English", "targets": ["de", "en"]},
    ]
    found = client.post("/detect", data={"q": GERMAN}).json()
    assert [item["language"] for item in found] == ["de", "en"]
    assert found[0]["confidence"] > 90
    assert client.get("/detect", params={"q": GERMAN}).json() == found
    settings = client.get("/frontend/settings").json()
    assert (settings["charLimit"], settings["keyRequired"]) == (5000, False)
    assert settings["language"]["target"] == {"code": "de", "name": "German"}
    assert client.get("/health").json() == {"status": "ok"}


def test_spec_describes_all_routes(client: TestClient) -> None:
    spec = client.get("/spec").json()
    assert spec == client.get("/openapi.json").json()
    assert {path: set(routes) for path, routes in spec["paths"].items()} == {
        "/translate": {"get", "post"},
        "/detect": {"get", "post"},
        "/sentences": {"post"},
        "/explain": {"post"},
        "/languages": {"get"},
        "/frontend/settings": {"get"},
        "/health": {"get"},
        "/translate_file": {"post"},
        "/download_file/{name}": {"get"},
    }
    assert "429" in spec["paths"]["/translate"]["post"]["responses"]


def test_docs_describe_all_routes_and_load_nothing(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    paths = client.get("/spec").json()["paths"]
    assert re.findall(r"<h2>(\S+) <small>", answer.text) == list(paths)
    assert "POST, GET" in answer.text
    assert "curl -H &#x27;Content-Type: application/json&#x27; -d" in answer.text
    assert "text or html, default text" in answer.text
    assert not re.search(r"\b(src|href)=.?(http|//)", answer.text)
    hostile = client.get("/docs", headers={"Host": "x'><script>"})
    assert "<script>" not in hostile.text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"q": ""}, "Invalid request: missing q parameter"),
        ({"q": []}, "Invalid request: missing q parameter"),
        ({"q": 3}, "Invalid request: q must be a text or a list of texts"),
        ({"q": ["a", None]}, "Invalid request: q must be a text or a list of texts"),
        ({"q": "a" * 5001}, "Invalid request: request (5001) exceeds text limit (5000)"),
        ({"q": [""] * 5001}, "Invalid request: request (5001) exceeds text limit (5000)"),
        ({"source": None}, "Invalid request: missing source parameter"),
        ({"target": ["de"]}, "Invalid request: missing target parameter"),
        ({"source": "zz"}, "zz is not supported"),
        ({"target": "zz" * 100}, f"{'zz' * 20} is not supported"),
        ({"target": "auto"}, "auto is not supported"),
        ({"format": "xml"}, "xml format is not supported"),
        ({"format": ["html"]}, "['html'] format is not supported"),
        ({"alternatives": "abc"}, "Invalid request: alternatives parameter is not a number"),
        ({"alternatives": "-1"}, "Invalid request: alternatives parameter is below 0"),
        ({"alternatives": [1]}, "Invalid request: alternatives parameter is not a number"),
    ],
)
def test_invalid_field_is_named(client: TestClient, more: dict[str, Any], message: str) -> None:
    assert post(client, **more) == (400, {"error": message})


@pytest.mark.parametrize("body", ["{", '["q"]', "[" * 5000, "\xff", '{"q": 1e999'])
def test_json_that_is_no_object_is_refused(client: TestClient, body: str) -> None:
    answer = client.post("/translate", content=body.encode("latin-1"), headers=JSON)
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid JSON format"})


def test_other_bodies_and_paths_are_refused(client: TestClient) -> None:
    answers = [
        client.post("/translate", content=b"text", headers={"Content-Type": "text/plain"}),
        client.post("/translate", content=b"--x", headers={"Content-Type": "multipart/form-data"}),
        client.post("/translate", content=b"a=1&" * 1001, headers=FORM),
        client.get("/nothing"),
        client.delete("/translate"),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 404, 405]
    assert all(set(answer.json()) == {"error"} for answer in answers)
    assert answers[-1].headers["allow"] == "GET, POST"


def test_text_that_is_no_utf_8_is_answered(client: TestClient) -> None:
    body = json.dumps({**ASKED, "q": "\ud800 42", "source": "en"})
    answer = client.post("/translate", content=body, headers=JSON)
    assert answer.json()["translatedText"] == "\ufffd 42"
    answer = client.post("/translate", content=json.dumps({**ASKED, "target": "\ud800"}), headers=JSON)
    assert answer.status_code == 400


def test_answers_allow_no_other_origin(client: TestClient) -> None:
    answer = client.get("/languages", headers={"Origin": "http://example.org"})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_answers_allow_given_origins(folder: Path, german: str) -> None:
    allowed, other = ({"Origin": f"https://{name}.org", "Access-Control-Request-Method": "POST"} for name in "ab")
    with TestClient(create_app(make_service(folder), "1", ["https://a.org"])) as client:
        answer = client.post("/translate", json=ASKED, headers=allowed)
        assert answer.json()["translatedText"] == german
        assert answer.headers["access-control-allow-origin"] == "https://a.org"
        asked = {**allowed, "Access-Control-Request-Headers": "content-type"}
        assert client.options("/translate", headers=asked).headers["access-control-allow-headers"] == "content-type"
        assert client.post("/translate", json={}, headers=allowed).headers["access-control-allow-origin"]
        for answer in (client.options("/translate", headers=other), client.get("/languages", headers=other)):
            assert "access-control-allow-origin" not in answer.headers


def test_api_key_is_needed_and_not_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with TestClient(create_app(make_service(folder, keys=("secret", "other")), "1")) as client:
        assert post(client) == (400, {"error": "Please contact the server operator to get an API key"})
        assert post(client, api_key="wrong-ä") == (403, {"error": "Invalid API key"})
        assert client.post("/detect", data={"q": "x", "api_key": "secre"}).status_code == 403
        assert [post(client, **{name: "secret"})[0] for name in ("api_key", "apiKey")] == [200, 200]
        assert client.get("/translate", params={**ASKED, "api_key": "other"}).status_code == 200
        assert client.get("/secret").status_code == 404
        assert client.get("/languages").status_code == 200
        assert client.get("/frontend/settings").json()["keyRequired"] is True
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("serve")]
    assert any(message.startswith("POST /translate 403") for message in messages)
    assert not any(word in message for message in messages for word in ("secret", "other?", "wrong", "station"))


def test_unexpected_exception_is_answered_without_its_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch, client: TestClient
) -> None:
    async def fail(self: Service, fields: Any) -> None:
        raise RuntimeError("/home/someone/model")

    monkeypatch.setattr(Service, "translate", fail)
    assert post(client) == (500, {"error": "The server could not answer this request"})


def test_body_that_is_too_large_is_refused(client: TestClient) -> None:
    def body(size: int) -> Any:
        yield from (b"a" * 10_000 for _ in range(size // 10_000))

    declared = client.post("/translate", content=body(10**7), headers={"Content-Length": str(10**7)})
    assert (declared.status_code, declared.json()) == (
        413, {"error": "Invalid request: the body has more than 76384 bytes"}
    )  # fmt: skip
    assert client.post("/translate", content=body(10**6)).status_code == 413


def test_slow_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def receive() -> Any:
        await asyncio.sleep(10)

    monkeypatch.setattr(fields, "READ_SECONDS", 0.02)
    request = fields.Request({"type": "http", "headers": [], "query_string": b"", "method": "POST"}, receive)
    with pytest.raises(fields.ApiError, match="not complete") as caught:
        asyncio.run(fields.read_fields(request, 100))
    assert caught.value.status == 408


def test_full_queue_is_answered_with_time_to_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service(folder)

    async def refuse(job: object) -> None:
        raise ApiError(429, "Slowdown: too many requests are waiting", 3)

    monkeypatch.setattr(service.batcher, "submit", refuse)
    with TestClient(create_app(service, "1")) as client:
        answer = client.post("/translate", json=ASKED)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert answer.json() == {"error": "Slowdown: too many requests are waiting"}
