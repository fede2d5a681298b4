"""Build the manual as a web site: `python -m docs.build_site`, or `make docs`.

The pages of docs/, README.md and CONTRIBUTING.md link to each other and to files of the project, as GitHub needs it.
This command writes them to build/manual, where every link leads to a page of the site: a source file or a folder that a
page links to becomes a page, too. Then Zensical builds build/site after mkdocs.yml. Warnings are errors.
"""

import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import write_text
from paper_transformer import __all__ as public_names

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "mkdocs.yml"
PAGES = ROOT / "build" / "manual"
API_PAGE = ROOT / "docs" / "api.md"
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
FENCE = re.compile(r"^(?P<mark>`{3,})[^\n]*\n.*?^(?P=mark)`*$", re.MULTILINE | re.DOTALL)
MORE_THAN_LANGUAGE = re.compile(r"(?<=\A```)(\w*) [^\n]*")
"""Words after the language of a code block, such as `text what you should see (random)`."""
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)[^)\s#]+")
COPIED = (".png", ".svg", ".css")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json"}
NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
"""Start of a page of source code: such pages would be most of the results of a search."""


def main() -> None:
    """Write the pages and build the site."""
    CommandParser(description=__doc__).parse_args()
    write_pages(PAGES)
    build(CONFIG)
    site = ROOT / "build" / "site"
    print(f"Open {site / 'index.html'}. The search needs a server: python -m http.server --directory {site}")


def build(config: Path) -> None:
    """Build the site of a configuration. Raises InputError if there are warnings, which Zensical prints."""
    zensical = Path(sys.executable).with_name("zensical")
    if not zensical.is_file():
        raise InputError("Zensical, which builds the site, is not installed. Run: pip install -e '.[docs]'")
    command = [str(zensical), "build", "--clean", "--strict", "--config-file", str(config)]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise InputError("Zensical has reported problems. Repair the pages that it names above")


def write_pages(folder: Path) -> None:
    """Write all pages of the site, the pictures on them and the style to a folder that is emptied before."""
    shutil.rmtree(folder, ignore_errors=True)
    waiting = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    waiting.append(ROOT / "docs" / "site.css")
    seen = set(waiting)
    while waiting:
        file = waiting.pop()
        target = folder / site_path(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix in COPIED:
            shutil.copyfile(file, target)
            continue
        text, linked = page_of(file)
        write_text(target, text)
        waiting += sorted(linked - seen)
        seen |= linked


def site_path(file: Path) -> PurePosixPath:
    """Return the path on the site of a file or folder of the project, with the suffix of a page before it is HTML."""
    path = PurePosixPath(file.relative_to(ROOT).as_posix())
    if path.parts[0] == "docs" and file.suffix in (".md", *COPIED):
        path = path.relative_to("docs")
    elif len(path.parts) > 1 or file.suffix != ".md":
        path = "source" / path
    if file.is_dir():
        return path / "index.md"
    if path.name == "README.md":
        return path.with_name("index.md")
    return path if file.suffix in (".md", *COPIED) else path.with_name(path.name + ".md")


def page_of(file: Path) -> tuple[str, set[Path]]:
    """Return the page of a file or folder, and the files and folders that it links to."""
    if file.is_dir():
        return folder_page(file)
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".md":
        return source_page(file, text), set()
    linked: set[Path] = set()

    def change(match: re.Match[str]) -> str:
        other = (file.parent / match[0]).resolve()
        if not other.exists():
            raise InputError(f"{file.relative_to(ROOT)} links to {match[0]}, which does not exist")
        linked.add(other)
        return relative_link(file, other)

    text = FRONT_MATTER.sub("", text).replace("<details>", '<details markdown="1">')  # Markdown inside HTML
    parts = [
        MORE_THAN_LANGUAGE.sub(r"\1", part) if is_code else LINK.sub(change, part) for part, is_code in divide(text)
    ]
    if file == API_PAGE:  # mkdocstrings replaces these lines by the docstrings
        parts += [f"\n::: paper_transformer.{name}\n" for name in public_names]
    return "".join(parts), linked


def divide(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a page in order, each with True if it is a code block."""
    end = 0
    for match in FENCE.finditer(text):
        yield text[end : match.start()], False
        yield match[0], True
        end = match.end()
    yield text[end:], False


def relative_link(file: Path, other: Path) -> str:
    """Return the link from the page of a file to that of another file or folder."""
    return posixpath.relpath(site_path(other), site_path(file).parent)


def source_page(file: Path, text: str) -> str:
    """Return a page with the text of a file that is not Markdown."""
    marks = re.findall(r"^`{3,}", text, re.MULTILINE)
    fence = "`" * max([3, *(len(mark) + 1 for mark in marks)])
    name = file.relative_to(ROOT).as_posix()
    return f"{NOT_SEARCHED}# {name}\n\n{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def folder_page(folder: Path) -> tuple[str, set[Path]]:
    """Return a page that lists the code, the settings and the pages of a folder, and these files."""
    name = folder.relative_to(ROOT).as_posix()
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".py", ".yaml", ".md")]
    rows = [f"- [{file.name}]({relative_link(folder, file)})\n" for file in files]
    return f"{NOT_SEARCHED}# {name}/\n\n{''.join(rows)}", set(files)


if __name__ == "__main__":
    run_command(main)
