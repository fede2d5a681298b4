"""Files are translated as `transformer.translate` translates them, and kept for a while."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from evaluate.documents import translate_document
from serve import documents, limits
from serve.api import create_app
from serve.documents import Document, File, FileStore
from serve.errors import ApiError
from serve.limits import Limits
from tests.serve.small_service import ENGLISH, make_models, make_service
from tests.tiny_model import TEXT

SRT = f"1\n00:00:01,000 --> 00:00:02,000\n{TEXT[0]}\n\n2\n00:00:03,000 --> 00:00:04,000\n<i>{TEXT[1]}</i>\n{TEXT[2]}\n"
HTML = f"<!DOCTYPE html>\n<p class=x>{TEXT[0]} <b>{TEXT[1]}</b></p><script>a < b</script><ul><li>{TEXT[2]}<li>42</ul>"


def send(client: TestClient, name: str, content: bytes | str, **fields: Any) -> tuple[int, Any]:
    """Return status and answer for a file that is translated to German."""
    form = {"source": "en", "target": "de", **fields}
    answer = client.post("/translate_file", data=form, files={"file": (name, content)})
    return answer.status_code, answer.json()


def translate(client: TestClient, name: str, content: bytes | str, **fields: Any) -> str:
    """Return the translated file."""
    status, answer = send(client, name, content, **fields)
    assert status == 200, answer
    return client.get(answer["translatedFileUrl"]).content.decode()


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.HTML", HTML), ("a.htm", HTML)])
@pytest.mark.parametrize("job", [1, 60, 10_000])
def test_document_is_translated_as_by_translate(
    client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, job: int
) -> None:
    monkeypatch.setattr(documents, "FILE_JOB", job)
    translator = make_models(folder).directions["en", "de"]
    format = "srt" if name.endswith("srt") else "html"
    assert translate(client, name, text) == translate_document(translator, text, format, note=lambda _: None)


def test_text_file_keeps_lines(client: TestClient, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILE_JOB", 50)
    one, two = make_models(folder).directions["en", "de"]([TEXT[0], TEXT[1]])
    assert translate(client, "a.txt", f"{TEXT[0]}\r\n\r\n {TEXT[1]}\n42") == f"{one}\r\n\r\n {two}\n42"
    assert translate(client, "a.txt", "") == ""
    assert translate(client, "a.txt", f"\ufeff{TEXT[0]}".encode("utf-16-le"), source="auto") == one
    assert translate(client, "a.txt", TEXT[0], target="en") == TEXT[0]


def test_other_requests_are_translated_between_jobs_of_a_file(folder: Path) -> None:
    translator = make_models(folder).directions["en", "de"]
    document = Document.parse("text", f"{'The cat. ' * 100}\n" * 10)
    jobs = list(document.jobs(translator))
    assert len(jobs) == 5
    assert max(job.characters for job in jobs) <= limits.FILE_JOB
    assert "".join(text for job in jobs for text in job.texts) == document.visible.replace("\n\n", "\n")


def test_download_is_no_page_of_this_site(client: TestClient) -> None:
    _, answer = send(client, "../My söngs/<b>.html", "<p>42</p><script>alert(1)</script>")
    url = answer["translatedFileUrl"]
    assert url.startswith("http://testserver/download_file/")
    file = client.get(url)
    assert file.headers["content-disposition"] == "attachment; filename*=UTF-8''b_de.html"
    assert file.headers["content-security-policy"].startswith("sandbox")
    assert file.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.docx", b"PK", {}, "file format not supported; it must be one of .txt, .srt, .html, .htm"),
        ("txt", b"", {}, "file format not supported; it must be one of .txt, .srt, .html, .htm"),
        ("a.txt", b"abc\xff", {}, "the file is not UTF-8 at byte 3"),
        ("a.txt", b"\xff\xfea", {}, "the file is not UTF-16-LE at byte 2"),
        ("a.srt", b"abc", {}, "line 1 is 'abc', without a time before it"),
        ("a.txt", b"a\n" * 500 + b"a", {}, "file (1001) exceeds text limit (1000)"),
        ("a.txt", b"a", {"target": ""}, "missing target parameter"),
    ],
)
def test_file_that_cannot_be_translated_is_refused(
    folder: Path, name: str, content: bytes, fields: dict[str, str], message: str
) -> None:
    app = create_app(make_service(folder, Limits(file_characters=1000)), "1")
    status, answer = send(TestClient(app), name, content, **fields)
    assert status == 400
    assert answer["error"].startswith(f"Invalid request: {message}")


def test_upload_without_file_and_with_wrong_key_is_refused(folder: Path, client: TestClient) -> None:
    fields = {"source": "en", "target": "de"}
    answer = client.post("/translate_file", files={"q": (None, "x")}, data=fields)
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid request: missing file parameter"})
    assert client.post("/translate_file", data=fields).status_code == 400
    protected = TestClient(create_app(make_service(folder, Limits(file_characters=10), ("secret",)), "1"))
    assert send(protected, "a.txt", b"x", api_key="wrong")[0] == 403
    assert send(protected, "a.txt", b"x" * 20_000)[0] == 413


def test_settings_list_file_formats(client: TestClient) -> None:
    settings = client.get("/frontend/settings").json()
    assert settings["filesTranslation"] is True
    assert settings["supportedFilesFormat"] == [".txt", ".srt", ".html", ".htm"]


def test_file_store_drops_old_and_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "FILES", 2)
    seconds = 0.0
    store = FileStore(lambda: seconds)
    names = [store.add(File(f"{n}.txt", b"")) for n in range(3)]
    assert len({name.partition(".")[0] for name in names}) == 3
    with pytest.raises(ApiError, match="no such file"):
        store.find(names[0])
    assert [store.find(name).name for name in names[1:]] == ["1.txt", "2.txt"]
    seconds = documents.FILE_SECONDS
    with pytest.raises(ApiError, match="too old") as caught:
        store.find(names[1])
    assert caught.value.status == 404


def test_names_of_downloads_are_not_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    translate(client, "secret.txt", ENGLISH)
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("serve")]
    assert any(message.startswith("GET /download_file/{name} 200") for message in messages)
    assert not any("secret" in message for message in messages)
