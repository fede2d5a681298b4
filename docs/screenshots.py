"""Take the pictures of web pages in docs/: `python -m docs.screenshots`. Needs the extra `browser`, and Chromium.

They show the included models: `docs/explain-page.png` is the page of `transformer.explain --html`, and
`docs/serve-page.png` the page of the server. `docs/report.png` is the report of the run of `make demo`,
and `docs/compare.png` the comparison of the runs that docs/reports.md trains.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.runner import ROOT
from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError

DOCS = Path(__file__).resolve().parent
PIZZA = "The pizza came out of the oven and it tasted good."
TEXT = f"Where is the station? {PIZZA}\n\nThe committee ratified the amendment to the statute of limitations."
REPORT = ROOT / "runs/demo/report.html"
COMPARISON = ROOT / "runs/layers/compare.html"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


def main() -> None:
    """Write the pictures."""
    CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        from playwright.sync_api import Browser, sync_playwright
    except ImportError as error:
        raise InputError("playwright is not installed. Run: pip install playwright") from error
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise InputError("Chromium is not installed. Install it, for example with: apt-get install chromium")

    def explain_page(browser: Browser) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "page.html"
            subprocess.run(
                [sys.executable, "-m", "transformer.explain", PIZZA, "--html", str(file)], cwd=ROOT, check=True
            )
            page = browser.new_page(viewport={"width": 1200, "height": 930})
            page.goto(file.as_uri())
            page.select_option("#layer", label="5")
            page.select_option("#head", label="2")
            page.click("#rows button:text-is('it')")
            page.screenshot(path=DOCS / "explain-page.png")

    def serve_page(browser: Browser) -> None:
        with server() as address:
            page = browser.new_page(viewport={"width": 1200, "height": 1080})
            page.goto(address)
            page.fill("#text", TEXT)
            page.click("#output .part >> nth=1")
            page.click("#explain summary")
            page.frame_locator("#explanation iframe").locator("#rows button:text-is('it')").click()
            page.mouse.move(0, 0)
            page.wait_for_timeout(500)  # until the frame has its height
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=DOCS / "serve-page.png")

    def report_page(browser: Browser) -> None:
        page = browser.new_page(viewport={"width": 1100, "height": 1340})
        page.goto(REPORT.as_uri())
        page.screenshot(path=DOCS / "report.png")

    def compare_page(browser: Browser) -> None:
        page = browser.new_page(viewport={"width": 1100, "height": 980})
        page.goto(COMPARISON.as_uri())
        page.screenshot(path=DOCS / "compare.png")

    if not REPORT.is_file():
        raise InputError(f"{REPORT} is missing. Run: make demo")
    if not COMPARISON.is_file():
        raise InputError(f"{COMPARISON} is missing. Run the commands in docs/reports.md, section Compare runs")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        explain_page(browser)
        serve_page(browser)
        report_page(browser)
        compare_page(browser)
        browser.close()


@contextmanager
def server() -> Iterator[str]:
    """Start the server with the included models; yield its address."""
    command = [sys.executable, "-m", "transformer.serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield process.stderr.readline().split()[0]
        finally:
            process.terminate()
            process.communicate()


if __name__ == "__main__":
    run_command(main)
