"""The page without a browser: its files, its policy, and the routes that only the page needs."""

import asyncio
import json
import logging
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from common.page import STYLE
from serve.api import create_app
from serve.page import FOLDER, PATHS
from tests.evaluate.explain.test_page import Page, contrast
from tests.serve.small_service import CONFIG, ENGLISH, GERMAN, make_models, make_service, running
from tests.tiny_model import TEXT

ASKED = {"q": ENGLISH, "source": "en", "target": "de"}


def post(client: TestClient, path: str, **more: Any) -> tuple[int, Any]:
    """Return status and answer of a JSON request for `ASKED` with other fields."""
    answer = client.post(path, json={**ASKED, **more})
    is_json = answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json() if is_json else answer.text


@pytest.mark.parametrize(("path", "name"), PATHS.items())
def test_file_of_page_is_served_with_strict_policy(client: TestClient, path: str, name: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.content.endswith((FOLDER / name).read_bytes())
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert {name: value for name, value in policy.items() if not name.startswith(("script", "style"))} == {
        "img-src": "'self'", "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'",
        "frame-ancestors": "'none'",
    }  # fmt: skip
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'self' 'sha256-[\w+/=]{44}'", policy[kind])
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_all_static_files_are_served() -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(PATHS.values())


def test_page_has_style_of_all_pages(client: TestClient) -> None:
    assert client.get("/page.css").text.startswith(STYLE.read_text())


@pytest.mark.parametrize("name", PATHS.values())
def test_file_of_page_names_no_other_host_and_sets_no_html(name: str) -> None:
    text = (FOLDER / name).read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//[a-z]|url\(|@import", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)


def test_html_of_page_has_no_inline_style_and_labels_its_controls() -> None:
    text = (FOLDER / "index.html").read_text()
    page = Page(text, void=("meta", "link", "input"))
    assert page.open == []
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]
    labelled = set(re.findall(r"<label[^>]*>(?:(?!</label>)[\s\S])*<(?:select|input)[^>]* id=\"(\w+)\"", text))
    for tag, attributes in page.elements:
        if tag in ("input", "textarea", "select"):
            assert attributes.get("aria-label") or attributes["id"] in labelled, attributes
    roles = [attributes.get("role") for _, attributes in page.elements]
    assert "alert" in roles
    assert "status" in roles
    assert ("html", {"lang": "en"}) in page.elements


def test_shade_leaves_texts_readable() -> None:
    """A contrast of 4.5 is what WCAG 2 asks for (level AA)."""
    common = re.findall(r"--(\w+): (#[0-9a-f]{6})", STYLE.read_text())
    own = re.findall(r"--(\w+): (#[0-9a-f]{6})", (FOLDER / "page.css").read_text())
    for mode in (0, 1):
        colours = dict(common[7 * mode : 7 * mode + 7]) | dict(own[2 * mode : 2 * mode + 2])
        assert contrast(colours["text"], colours["doubt"]) >= 4.5
        assert contrast(colours["problem"], colours["page"]) >= 4.5


def test_sentences_are_those_of_the_translation(client: TestClient, folder: Path) -> None:
    text = f"  {TEXT[0]}  {TEXT[1]}\r\n\r\n\t{TEXT[2]} "
    _, answer = post(client, "/sentences", q=text)
    _, translated = post(client, "/translate", q=text)
    parts = answer["parts"]
    best = [part if isinstance(part, str) else part["translations"][0]["text"] for part in parts]
    assert "".join(best) == translated["translatedText"]
    sentences = [part for part in parts if not isinstance(part, str)]
    assert [sentence["source"] for sentence in sentences] == TEXT[:3]
    found = make_models(folder).directions["en", "de"].translate([TEXT[1]], n_best=CONFIG.beam)[0]
    shown = [(one["text"], one["score"]) for one in sentences[1]["translations"]]
    expected = {one.text: round(one.score, 3) for one in reversed(found)}
    assert shown == list(expected.items())[::-1]
    assert sentences[1]["translations"][0]["confidence"] == found[0].confidence


def test_sentences_of_detected_language_and_of_other_beam(client: TestClient, folder: Path) -> None:
    _, answer = post(client, "/sentences", source="auto", q=GERMAN)
    assert answer == {"parts": [GERMAN], "detectedLanguage": answer["detectedLanguage"]}
    assert answer["detectedLanguage"]["language"] == "de"
    _, answer = post(client, "/sentences", beam="1")
    greedy = make_models(folder).with_beam("en", "de", 1)
    assert greedy is not None
    assert [one["text"] for one in answer["parts"][0]["translations"]] == greedy([ENGLISH])
    assert greedy.config.beam == 1


def test_models_with_beam_share_the_backend(folder: Path) -> None:
    models = make_models(folder)
    own = models.find("en", "de")
    assert own is not None
    assert models.with_beam("en", "de", None) is own
    other = models.with_beam("en", "de", 2)
    assert other is models.with_beam("en", "de", 2)
    assert other is not None
    assert (other.backend, other.config.beam, own.config.beam) == (own.backend, 2, CONFIG.beam)
    assert models.with_beam("en", "en", 2) is None


def test_explanation_is_the_page_for_the_sentence(client: TestClient) -> None:
    status, page = post(client, "/explain", q="The <script>cat</script> sees it.", beam=2)
    assert status == 200
    assert "&lt;script&gt;cat" in page
    assert "<script>cat" not in page
    assert "Beam search keeps 2 hypotheses" in page


@pytest.mark.parametrize(
    ("path", "more", "message"),
    [
        ("/sentences", {"q": ""}, "Invalid request: missing q parameter"),
        ("/sentences", {"q": [ENGLISH]}, "Invalid request: missing q parameter"),
        ("/sentences", {"q": "a" * 5001}, "Invalid request: request (5001) exceeds text limit (5000)"),
        ("/sentences", {"beam": 9}, "Invalid request: beam must be from 1 to 8"),
        ("/sentences", {"beam": "1.5"}, "Invalid request: beam must be from 1 to 8"),
        ("/sentences", {"beam": True}, "Invalid request: beam must be from 1 to 8"),
        ("/sentences", {"source": "zz"}, "zz is not supported"),
        ("/explain", {"q": "a " * 201}, "Invalid request: the sentence has 402 characters; at most 400 are explained"),
        ("/explain", {"source": "auto"}, "auto is not supported"),
        ("/explain", {"target": "en"}, "Invalid request: source and target are the same language"),
        ("/explain", {"q": "42"}, "Invalid request: '42' has no word to translate. Give a sentence, such as \"It is"),
    ],
)
def test_invalid_field_is_named(client: TestClient, path: str, more: dict[str, Any], message: str) -> None:
    status, answer = post(client, path, **more)
    assert status == 400
    assert answer["error"].startswith(message)


def test_routes_of_page_need_key_and_log_no_text(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with TestClient(create_app(make_service(folder, keys=("secret",)), "1")) as client:
        for path in ("/sentences", "/explain"):
            assert post(client, path)[0] == 400
            assert post(client, path, api_key="wrong")[0] == 403
            assert post(client, path, api_key="secret")[0] == 200
        assert client.get("/").status_code == 200
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("serve")]
    assert any(message.startswith("POST /explain 200") for message in messages)
    assert not any(word in message for message in messages for word in ("secret", "wrong", ENGLISH))


def test_work_ends_if_client_leaves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service, begun, ended = make_service(folder), threading.Event(), threading.Event()

    async def wait(job: object) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    monkeypatch.setattr(service.batcher, "submit", wait)
    body = json.dumps(ASKED).encode()
    head = (
        f"POST /sentences HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with running(service) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.sendall(head.encode() + body)
            assert begun.wait(30)
            assert not ended.is_set()
        assert ended.wait(30)
