"""HTML pages that are one file: style, script and data are in it, and it loads nothing."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("page.css")
"""Style of all pages, light and dark."""


def html_page(title: str, body: str, style: str = "", script: str = "", data: Any = None) -> str:
    """Return a page. The browser may neither load anything nor run another script than this one.

    Args:
        title: text, which is escaped here.
        body: HTML: all text of users in it must be escaped.
        style: CSS in addition to `STYLE`.
        script: JavaScript, run after the body is there.
        data: is put into the page as JSON, in the element with the id `data`.
    """
    style = STYLE.read_text(encoding="utf-8") + style
    policy = f"default-src 'none'; style-src '{policy_hash(style)}'; script-src '{policy_hash(script)}'"
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}",
    ]
    if script:
        parts += [f'<script type="application/json" id="data">{_json(data)}</script>', f"<script>{script}</script>"]
    return "\n".join([*parts, "</body>\n</html>\n"])


def html_table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], chosen: Sequence[int] = ()) -> str:
    """Return a table of text, which is escaped here. It scrolls sideways if it is too wide for the screen.

    Args:
        chosen: numbers of the rows to emphasise, from 0.
    """
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    lines = (
        f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row, mark in ((row, ' class="chosen"' if n in chosen else "") for n, row in enumerate(rows))
    )
    table = f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return scrolling(caption, f"{table}</table>")


def scrolling(label: str, content: str) -> str:
    """Return HTML in a region that scrolls sideways, also by keyboard."""
    return f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">{content}</div>'


def _json(data: Any) -> str:
    """Return JSON that can neither end its element nor begin a comment."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")


def policy_hash(text: str) -> str:
    """Return what allows this style or script, and no other, in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
