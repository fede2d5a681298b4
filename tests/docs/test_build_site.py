"""The web site of the manual: links of its pages, its navigation, and a build without warnings."""

import re
from html import unescape
from pathlib import Path

import pytest
import yaml

from docs.build_site import API_PAGE, CONFIG, ROOT, build, page_of, relative_link, site_path, write_pages
from paper_transformer import __all__ as public_names

LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "manual"
    write_pages(folder)
    return folder


def navigation() -> list[str]:
    """The pages that mkdocs.yml lists."""

    class Loader(yaml.SafeLoader):
        """Reads the names of functions in mkdocs.yml as None."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    found: list[str] = []
    waiting = [yaml.load(CONFIG.read_text(encoding="utf-8"), Loader)["nav"]]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.append(item)
        else:
            waiting += item if isinstance(item, list) else item.values()
    return found


def test_site_path_keeps_manual_and_moves_source_files() -> None:
    names = {name: site_path(ROOT / name).as_posix() for name in ("README.md", "docs/learn/README.md", "docs/gpt.md")}
    assert names == {"README.md": "index.md", "docs/learn/README.md": "learn/index.md", "docs/gpt.md": "gpt.md"}
    assert site_path(ROOT / "train/loss.py").as_posix() == "source/train/loss.py.md"
    assert site_path(ROOT / "LICENSE").as_posix() == "source/LICENSE.md"
    assert site_path(ROOT / "transformer").as_posix() == "source/transformer/index.md"
    assert site_path(ROOT / "docs/learn/it.py").as_posix() == "source/docs/learn/it.py.md"
    assert site_path(ROOT / "docs/it.png").as_posix() == "it.png"


def test_relative_link_leads_from_page_to_page() -> None:
    assert relative_link(ROOT / "docs/gpt.md", ROOT / "train/loss.py") == "source/train/loss.py.md"
    assert relative_link(ROOT / "docs/learn/it.md", ROOT / "README.md") == "../index.md"
    assert relative_link(ROOT / "transformer", ROOT / "transformer/block.py") == "block.py.md"


def test_page_of_keeps_code_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docs.build_site.ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "a.py").touch()
    page = tmp_path / "docs" / "x.md"
    code = "```\n[d](missing)\n```\n```{}\na b\n```\n"
    links = "[b](https://b.de) [c](#c)\n"
    page.write_text("---\nlicense: mit\n---\n[a](../a.py) " + links + code.format("text what you see"))
    text, linked = page_of(page)
    assert text == "[a](source/a.py.md) " + links + code.format("text")
    assert linked == {tmp_path / "a.py"}


def test_every_link_of_site_leads_to_page(pages: Path) -> None:
    for page in pages.rglob("*.md"):
        text = re.sub(r"^(`{3,}).*?^\1`*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for link in LINK.findall(text):
            assert (page.parent / link).is_file(), f"{page}: {link}"


def test_navigation_has_every_page_of_manual_once(pages: Path) -> None:
    written = {page.relative_to(pages).as_posix() for page in pages.rglob("*.md")}
    listed = navigation()
    assert sorted(set(listed)) == sorted(listed)
    assert set(listed) == {page for page in written if not page.startswith("source/")}


def test_api_page_names_all_public_names(pages: Path) -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", API_PAGE.read_text(encoding="utf-8"), re.MULTILINE)) == set(public_names)
    assert (pages / "api.md").read_text(encoding="utf-8").count("\n::: paper_transformer.") == len(public_names)


@pytest.fixture(scope="module")
def site(pages: Path) -> Path:
    pytest.importorskip("zensical")
    config = pages.parent / "mkdocs.yml"
    text = CONFIG.read_text(encoding="utf-8").replace("build/manual", "manual").replace("build/site", "site")
    config.write_text(text.replace("paths: [.]", f"paths: ['{ROOT}']"), encoding="utf-8")
    build(config)  # fails if there are warnings
    return pages.parent / "site"


def test_site_has_all_pages_and_loads_nothing_from_other_hosts(site: Path) -> None:
    html = {page.relative_to(site).as_posix(): page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert {page.removesuffix(".md") + ".html" for page in navigation()} <= set(html)
    assert "Load a translation model" in html["api.html"]
    for name, page in html.items():
        assert not re.search(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=\"?https?:", page), name


def test_pages_of_site_have_same_parts_as_on_github(site: Path, pages: Path) -> None:
    """Zensical's Markdown is not GitHub's: for example, it needs four spaces to continue an item of a list."""
    markdown_it = pytest.importorskip("markdown_it")
    github = markdown_it.MarkdownIt("gfm-like", {"linkify": False})
    for name in navigation():
        expected = github.render((pages / name).read_text(encoding="utf-8"))
        html = (site / name).with_suffix(".html").read_text(encoding="utf-8")
        found = html[html.index("<article") : html.index("</article>")]
        if name != "api.md":  # has docstrings
            assert count_elements(found) == count_elements(expected), name
            assert code_blocks(found) == code_blocks(expected), name


def code_blocks(html: str) -> list[str]:
    """Return the texts of the code blocks."""
    blocks = re.findall(r"<pre\b.*?>(.*?)</pre>", html, re.DOTALL)
    return [unescape(re.sub(r"<[^>]*>", "", block)).strip().expandtabs(4) for block in blocks]


def count_elements(html: str) -> dict[str, int]:
    """Return how many elements of a kind there are."""
    names = ("h2", "h3", "ul", "ol", "li", "tr", "pre", "code", "img", "strong", "em")
    return {name: len(re.findall(rf"<{name}\b", html)) for name in names}
