"""Run the code of a page of docs/learn from top to bottom, and print what it prints.

    python -m docs.learn.run 3                  # page 3
    python -m docs.learn.run 6 TEXT=my.txt      # with another value of a constant of the page
    python -m docs.learn.run 3 --small          # in seconds, with the small values that the tests use
    python -m docs.learn.run 3 --write          # and write the output and the running time into the page
    python -m docs.learn.run questions          # the code of the twenty questions

All fences of a page that begin with ```python run in one namespace, also the answers of the exercises. A fence that
begins with ```python (not run) does not. A ```text fence after the code shows what the code prints. The tests compare
it character by character, with small values and at full size the same; but not after ```text what you should see
(random), where the output depends on the machine or on the size. A comment <!-- test: NAME = value --> gives the value
of a constant in the tests. Constants have names in capitals.
"""

import argparse
import ast
import io
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from common.arguments import CommandParser
from common.command import run_command
from common.errors import InputError
from common.files import write_text
from common.versions import describe_machine

FOLDER = Path(__file__).resolve().parent
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL = re.compile(r"<!-- test: (\w+) = (.+?) -->")
TIME = re.compile(r"(?<=<!-- run -->).*?(?=<!-- end -->)", re.DOTALL)
RANDOM = "text what you should see (random)"


@dataclass(frozen=True)
class Example:
    """A code fence, and the output fence after it."""

    code: str
    line: int
    """Line of the page where the code begins, counted from 1."""
    output: str | None
    """What the page says that the code prints. None: the page does not show it."""
    exact: bool
    """True if the code must print `output` in every run."""
    span: tuple[int, int]
    """Where `output` begins and ends on the page, in characters."""


def main() -> None:
    """Run a page and print its output and the CPU time that it took."""
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="number of the page, or questions")
    parser.add_argument("values", nargs="*", metavar="NAME=value", help="other values for constants of the page")
    parser.add_argument("--small", action="store_true", help="use the small values of the tests")
    parser.add_argument("--write", action="store_true", help="write output and running time into the page")
    args = parser.parse_args()
    path = find_page(args.page)
    text = path.read_text(encoding="utf-8")
    values = (small_values(text) if args.small else {}) | given_values(args.values)
    started = time.process_time()  # seconds of the CPU do not depend on other jobs of the machine
    printed = list(run_page(text, path, values, echo=sys.stdout))
    seconds = time.process_time() - started
    print(f"\n{path.name}: {seconds:.0f} s of CPU time")
    if args.write:
        write_text(path, with_time(with_outputs(text, printed), [args.page, *args.values], seconds))


def find_page(name: str) -> Path:
    """Return the page with a number, or questions.md. Raises InputError if there is none."""
    pages = {str(int(path.name[:2])): path for path in sorted(FOLDER.glob("[0-9][0-9]-*.md"))}
    pages["questions"] = FOLDER / "questions.md"
    if name not in pages:
        raise InputError(f"there is no page {name}. The pages are {', '.join(pages)}.")
    return pages[name]


def small_values(text: str) -> dict[str, str]:
    """Return the values of the constants in the tests, as Python expressions."""
    return dict(SMALL.findall(text))


def given_values(words: list[str]) -> dict[str, str]:
    """Return the values of the command line as Python expressions. What is no expression of constants is a string."""
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"{word} is not a constant with a value. Write for example UPDATES=500")
        try:
            values[name] = repr(ast.literal_eval(value))
        except (SyntaxError, ValueError):
            values[name] = repr(value)
    return values


def examples(text: str) -> list[Example]:
    """Return the code fences of a page that run, with their output."""
    fences = [*FENCE.finditer(text), None]
    return [
        _example(text, fence, after)
        for fence, after in pairwise(fences)
        if fence is not None and fence["kind"] == "python"
    ]


def _example(text: str, fence: re.Match[str], after: re.Match[str] | None) -> Example:
    shown = after is not None and after["kind"] in ("text", RANDOM)
    return Example(
        code=fence["text"],
        line=text.count("\n", 0, fence.start("text")) + 1,
        output=after["text"] if shown and after else None,
        exact=bool(shown and after and after["kind"] == "text"),
        span=after.span("text") if shown and after else (0, 0),
    )


def run_page(
    text: str, path: Path, values: Mapping[str, str], echo: TextIO | None = None
) -> Iterator[tuple[Example, str]]:
    """Run the code of a page, and yield each example with what it printed.

    Args:
        path: file that tracebacks name, with the line.
        values: Python expressions that replace the values of constants.
        echo: file that receives the output at once, too.

    Raises:
        InputError: the page has no constant of a name in `values`.
    """
    namespace: dict[str, object] = {"__name__": "page"}
    trees = [ast.parse(example.code, str(path)) for example in examples(text)]
    constants = {name for tree in trees for name, _ in _constants(tree)}
    if unknown := sorted(values.keys() - constants):
        raise InputError(f"{path.name} has no constant {unknown[0]}. It has {', '.join(sorted(constants))}.")
    for example, tree in zip(examples(text), trees, strict=True):
        for name, assignment in _constants(tree):
            if name in values:
                assignment.value = ast.parse(values[name], "value", "eval").body
        ast.increment_lineno(ast.fix_missing_locations(tree), example.line - 1)
        out = _Output(echo)
        with redirect_stdout(out):
            exec(compile(tree, str(path), "exec"), namespace)
        yield example, out.getvalue()


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.Assign]]:
    """Yield the statements `NAME = value` with a name in capitals."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(target := node.targets[0], ast.Name) and target.id.isupper():
            yield target.id, node


class _Output(io.StringIO):
    """What an example prints; `echo` receives it as well."""

    def __init__(self, echo: TextIO | None) -> None:
        super().__init__()
        self.echo = echo

    def write(self, text: str, /) -> int:
        if self.echo is not None:
            self.echo.write(text)
            self.echo.flush()
        return super().write(text)


def with_outputs(text: str, printed: list[tuple[Example, str]]) -> str:
    """Return the page with what its examples printed in their output fences."""
    for example, output in reversed(printed):
        if example.output is not None:
            start, end = example.span
            text = text[:start] + output.rstrip("\n") + "\n" + text[end:]
    return text


def with_time(text: str, arguments: list[str], seconds: float) -> str:
    """Return the page with command, running time and machine between `<!-- run -->` and `<!-- end -->`."""
    machine = describe_machine()
    shown = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
    hardware = f"{machine['cpu']}, {machine['cores']} cores, torch {machine['versions']['torch']}"
    return TIME.sub(f"\n`python -m docs.learn.run {' '.join(arguments)}`: {shown} of CPU time, {hardware}.\n", text)


if __name__ == "__main__":
    run_command(main)
