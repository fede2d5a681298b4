"""The page in Chromium: what somebody types, clicks and drops, and what an answer of the server does to it."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serve.limits import Limits
from tests.serve.small_service import CONFIG, ENGLISH, GERMAN, make_models, make_service, running
from tests.tiny_model import TEXT

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"
TIMES = "00:00:01,000 --> 00:00:02,000"
PROBLEMS = ("error", "warning")
"""Kinds of messages in the console that no test may cause, such as what the policy refuses."""


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with running(make_service(folder, Limits(characters=300))) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@contextmanager
def opened(browser: "Browser", url: str, width: int = 1280, **options: Any) -> "Iterator[Page]":
    """Open the page in a new profile. At the end, nothing was wrong and nothing was asked from another host."""
    problems: list[str] = []
    asked: list[str] = []
    with browser.new_context(viewport={"width": width, "height": 800}, **options) as context:
        context.set_default_timeout(30_000)  # ms; a busy machine needs more than ten seconds
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type in PROBLEMS else None)
        page.goto(url)
        page.wait_for_selector("#source option", state="attached")
        yield page
        assert problems == []
        assert [one for one in asked if not one.startswith((url, "about:srcdoc", "blob:"))] == []


def translate(page: "Page", text: str) -> str:
    """Put a text into the page; return its translation."""
    page.fill("#text", text)
    page.wait_for_selector('#output[aria-busy="false"] .part')
    return str(page.locator("#output").text_content())


def slow_down(page: "Page", change: "Callable[[Route], None]") -> None:
    """Let a function answer the requests for translations."""
    page.route("**/sentences", change)


def answer(route: "Route", text: str, **more: Any) -> None:
    """Answer a request for a translation with one sentence."""
    translations = [{"text": text, "score": -1.0, "confidence": 0.5}]
    parts = [{"source": json.loads(str(route.request.post_data))["q"], "translations": translations}]
    route.fulfill(json={"parts": parts, **more})


def test_text_is_translated_while_typed(browser: "Browser", url: str, folder: Path) -> None:
    with opened(browser, url) as page:
        page.select_option("#source", "en")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
        page.locator("#text").press_sequentially(ENGLISH, delay=5)
        expect(page.locator("#output")).to_have_text(make_models(folder).directions["en", "de"]([ENGLISH])[0])
        assert len(asked) < len(ENGLISH) / 2  # 1, if the machine does not stop for a while
        expect(page.locator("#status")).to_have_text(re.compile("1 sentence translated, lowest confidence 0.5"))
        page.fill("#text", "")
        expect(page.locator("#output")).to_be_empty()
        assert page.locator("#sentence").is_hidden()


def test_answer_to_older_text_is_never_shown(browser: "Browser", url: str) -> None:
    held: list[Route] = []

    def change(route: "Route") -> None:
        if "slow" in str(route.request.post_data):
            held.append(route)
        else:
            answer(route, "new")

    with opened(browser, url) as page:
        failed: list[str] = []
        page.on("requestfailed", lambda request: failed.append(str(request.post_data)))
        slow_down(page, change)
        page.fill("#text", "slow")
        while not held:
            page.wait_for_timeout(20)
        assert translate(page, "fast") == "new"
        answer(held[0], "old")
        page.wait_for_timeout(100)
        assert page.locator("#output").text_content() == "new"
        assert len(failed) == 1
        assert "slow" in failed[0]


def test_markup_is_shown_as_text_everywhere(browser: "Browser", url: str) -> None:
    def change(route: "Route") -> None:
        if "fails" in str(route.request.post_data):
            route.fulfill(status=400, json={"error": SCRIPT})
        else:
            answer(route, SCRIPT, detectedLanguage={"language": SCRIPT, "confidence": SCRIPT})

    names = [{"code": code, "name": f"{code} {SCRIPT}", "targets": ["de", "en"]} for code in ("de", "en")]
    with browser.new_context() as context:
        page = context.new_page()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        page.route("**/languages", lambda route: route.fulfill(json=names))
        page.goto(url)
        assert translate(page, f"{ENGLISH} {SCRIPT}")
        slow_down(page, change)
        assert translate(page, SCRIPT) == SCRIPT
        page.click("#history summary")
        page.wait_for_selector("#entries button")
        for part in ("#detected", "#sentence-source", "#alternatives", "#entries", "#source", "#target"):
            assert SCRIPT in str(page.locator(part).text_content()), part
        page.fill("#text", f"{SCRIPT} fails")
        page.wait_for_selector("#problem:not(:empty)")
        assert SCRIPT in str(page.locator("#problem").text_content())
        page.set_input_files("#file", {"name": f"{SCRIPT}.txt", "mimeType": "text/plain", "buffer": b"\xff\x00\xff"})
        expect(page.locator("#problem")).to_contain_text("not a text file")
        assert page.locator("script").count() == 1
        assert page.locator("img").count() == 0
        assert dialogs == []


def test_sentences_have_shade_alternatives_and_keys(browser: "Browser", url: str, folder: Path) -> None:
    with opened(browser, url) as page:
        page.select_option("#source", "en")
        translate(page, f"{TEXT[0]}\n\n{TEXT[1]}")
        parts = page.locator("#output .part")
        assert parts.count() == 2
        assert parts.nth(0).get_attribute("title") == "Confidence 0.56"
        assert parts.nth(0).evaluate("(part) => part.style.getPropertyValue('--share')") == "35%"
        assert page.locator("#sentence-label").text_content() == "Sentence 1 of 2"
        parts.nth(0).press("ArrowRight")
        assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
        assert page.locator("#sentence-label").text_content() == "Sentence 2 of 2"
        assert page.locator("#sentence-source").text_content() == TEXT[1]
        best = make_models(folder).directions["en", "de"].translate([TEXT[1]], n_best=CONFIG.beam)[0]
        found = list({one.text: one for one in best}.values())
        buttons = page.locator("#alternatives button")
        assert buttons.count() > 1
        assert buttons.nth(1).locator("small").text_content() == f"score −{abs(found[1].score):.2f}"
        buttons.nth(1).press("Enter")
        assert parts.nth(1).text_content() == found[1].text
        assert buttons.nth(1).get_attribute("aria-pressed") == "true"
        page.click("#settings summary")
        page.select_option("#beam", "1")
        expect(buttons).to_have_count(1)


def test_language_is_detected_and_swapped(browser: "Browser", url: str) -> None:
    with opened(browser, url) as page:
        assert page.input_value("#source") == "auto"
        translate(page, GERMAN)
        assert page.input_value("#target") == "en"
        assert re.match(r"Detected: German \(\d+(\.\d)? %\)$", str(page.locator("#detected").text_content()))
        english = translate(page, f"{GERMAN} {GERMAN}")
        page.click("#swap")
        assert (page.input_value("#source"), page.input_value("#target")) == ("en", "de")
        assert page.input_value("#text") == english
        translate(page, ENGLISH)
        page.reload()
        page.wait_for_selector("#source option", state="attached")
        assert (page.input_value("#source"), page.input_value("#target")) == ("en", "de")


def test_history_stays_in_browser_until_cleared(browser: "Browser", url: str) -> None:
    with opened(browser, url) as page:
        page.select_option("#source", "en")
        translated = translate(page, TEXT[0])
        page.click("#history summary")
        entry = page.locator("#entries button")
        entry.wait_for()
        assert TEXT[0] in str(entry.text_content())
        assert translated in str(entry.text_content())
        page.click("#clear")
        page.reload()
        page.click("#history summary")
        entry.click()
        page.wait_for_selector("#output .part")
        assert page.input_value("#text") == TEXT[0]
        page.click("#forget")
        assert entry.count() == 0
        assert TEXT[0] not in page.evaluate("JSON.stringify(localStorage)")


def test_explanation_is_a_frame_without_rights(browser: "Browser", url: str) -> None:
    with opened(browser, url) as page:
        page.select_option("#source", "en")
        translate(page, TEXT[0])
        page.click("#explain summary")
        frame = page.frame_locator("#explanation iframe")
        frame.locator("#said").wait_for()
        assert str(frame.locator("#said").text_content()).startswith("“The” in layer 1")
        assert frame.locator("#heads svg rect").count() > 2
        page.wait_for_function("() => document.querySelector('iframe').clientHeight > 600")
        assert page.locator("#explanation iframe").get_attribute("sandbox") == "allow-scripts"
        assert frame.locator("main").evaluate("() => origin") == "null"
        page.fill("#text", "42")
        page.wait_for_selector("#explanation iframe", state="detached")


def test_file_is_chosen_or_dropped(browser: "Browser", url: str) -> None:
    with opened(browser, url) as page:
        for name, content in (("a.txt", TEXT[0].encode()), ("b.txt", b"\xff\xfe" + TEXT[1].encode("utf-16-le"))):
            page.set_input_files("#file", {"name": name, "mimeType": "text/plain", "buffer": content})
            page.wait_for_selector('#output[aria-busy="false"] .part')
        assert page.input_value("#text") == TEXT[1]
        data = page.evaluate_handle(
            "(text) => { const data = new DataTransfer(); data.items.add(new File([text], 'c.txt')); return data; }",
            TEXT[2],
        )
        for event in ("dragover", "drop"):
            page.dispatch_event("#text", event, {"dataTransfer": data})
        expect(page.locator("#text")).to_have_value(TEXT[2])
        page.set_input_files("#file", {"name": "d.srt", "mimeType": "", "buffer": f"1\n{TIMES}\n{TEXT[0]}\n".encode()})
        expect(page.locator("#status")).to_have_text("d.srt is translated into German")
        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename.startswith("d_")
        translated = Path(download.value.path()).read_text(encoding="utf-8")
        assert translated.startswith(f"1\n{TIMES}\n")
        page.set_input_files("#file", {"name": "e.txt", "mimeType": "", "buffer": f"{TEXT[0]}\n".encode() * 12})
        expect(page.locator("#download")).to_have_text("Download the translation of e.txt")
        page.fill("#text", "a" * 301)
        page.wait_for_selector("#problem:not(:empty)")
        assert "301 characters. This server translates at most 300" in str(page.locator("#problem").text_content())


def test_translation_is_copied(browser: "Browser", url: str) -> None:
    with opened(browser, url, permissions=["clipboard-read", "clipboard-write"]) as page:
        translated = translate(page, f"{TEXT[0]}\n{TEXT[1]}")
        page.click("#copy")
        expect(page.locator("#status")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == translated


def test_busy_server_is_asked_again(browser: "Browser", url: str) -> None:
    seen: list[float] = []

    def change(route: "Route") -> None:
        seen.append(time.monotonic())
        if len(seen) == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"error": "Slowdown"})
        else:
            answer(route, "done")

    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        slow_down(page, change)
        page.fill("#text", "busy")
        page.wait_for_selector("#problem:not(:empty)")
        assert page.locator("#problem").text_content() == "Slowdown. The page tries again in 1 s."
        page.wait_for_selector("#output .part")
        assert page.locator("#problem").text_content() == ""
        assert seen[1] - seen[0] > 0.9


def test_key_is_asked_for_and_kept_until_tab_is_closed(browser: "Browser", folder: Path) -> None:
    with running(make_service(folder, keys=("secret",))) as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.fill("#text", ENGLISH)
        page.wait_for_selector("#problem:not(:empty)")
        assert "API key" in str(page.locator("#problem").text_content())
        page.get_by_label("API key").fill("secret")
        page.get_by_label("API key").press("Tab")
        page.wait_for_selector("#output .part")
        page.reload()
        translate(page, ENGLISH)
        assert "secret" not in page.evaluate("JSON.stringify(localStorage)")


def test_phone_shows_page_in_light_and_dark_without_scrolling_sideways(browser: "Browser", url: str) -> None:
    with opened(browser, url, 390, has_touch=True) as page:
        translate(page, f"{TEXT[0]} {'Donaudampfschifffahrtsgesellschaft' * 6}")
        for part in ("history", "settings", "explain"):
            page.locator(f"#{part} summary").tap()
        page.frame_locator("#explanation iframe").locator("#said").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        colours: dict[Any, str] = {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}
        for scheme, colour in colours.items():
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("body")).to_have_css("background-color", colour)


def test_all_controls_have_names_and_are_reached_by_keyboard(browser: "Browser", url: str) -> None:
    with opened(browser, url) as page:
        translate(page, f"{TEXT[0]} {TEXT[1]}")
        page.click("#settings summary")
        page.focus("#source")
        reached = []
        for _ in range(14):
            reached.append(page.evaluate("document.activeElement.id || document.activeElement.parentElement.id"))
            page.keyboard.press("Tab")
        for name in ("swap", "target", "text", "file", "clear", "output", "copy", "explain", "history", "beam"):
            assert name in reached, reached
        tree = page.locator("main").aria_snapshot()
        assert not re.search(r"- (button|combobox|textbox)( \[.*\])?:?$", tree, re.MULTILINE), tree
