"""Command-line arguments: options that are given once, and settings."""

import argparse
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from common.files import expand
from common.settings import repeated_override
from common.settings_list import list_settings

SHELL_ASKS = "_ARGCOMPLETE"
"""Environment variable with which argcomplete's shell functions ask a command for completions."""


class CommandParser(argparse.ArgumentParser):
    """A parser that refuses what `argparse` would take silently for something else.

    An option that is given twice would lose its first value; one that may be repeated has `action="append"`. An option
    that was pasted with a long dash would be a sentence. In a script with Windows line ends, the last argument of a
    line would end in a carriage return. An empty path, from a variable that is not set, would be the current folder.
    """

    completes = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in (None, "store"):
            self.register("action", name, _StoreOnce)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as `argparse` does. Exit with status 2 if an argument is not what was meant."""
        self._complete()
        args = sys.argv[1:] if args is None else list(args)
        for before, argument in zip(["", *args], args, strict=False):
            self._check(before, argument)
        return super().parse_known_args(args, namespace)

    def parse_known_intermixed_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as `argparse` does."""
        self._complete()
        return super().parse_known_intermixed_args(args, namespace)

    def _complete(self) -> None:
        """Print completions and exit if a shell asks for those of its command line."""
        if SHELL_ASKS in os.environ and not self.completes:
            import argcomplete

            self.completes = True  # argcomplete parses the words of the shell
            argcomplete.autocomplete(self)

    def _check(self, before: str, argument: str) -> None:
        known, (name, equals, value) = self._option_string_actions, argument.partition("=")
        if argument.endswith("\r"):
            self.error(f"{argument!r} ends in a carriage return. Give your script the line ends of Linux")
        option = "--" + name.lstrip("-–—")
        if not argument.startswith("--") and argument[:1] in ("-", "–", "—") and option in known:
            self.error(f"{argument} does not begin with two hyphens (-). Write {option}")
        empty = before if not argument and isinstance(known.get(before), _StoreOnce) else ""
        if empty or (name in known and equals and not value):
            self.error(f"{empty or name} has no value. Is the variable of your shell set?")


class _StoreOnce(argparse.Action):
    """Store the value of an option. Exit with status 2 if the same command line has given one before."""

    seen: argparse.Namespace | None = None
    first: str | Sequence[Any] | None = None

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        if option_string and self.seen is namespace:
            parser.error(f"{option_string} is given twice, as {self.first} and as {values}. Keep one of them")
        self.seen, self.first = namespace, values
        setattr(namespace, self.dest, values)


def settings_parser(description: str | None, schema: type[Any], section: str = "") -> argparse.ArgumentParser:
    """Return a parser for commands that read settings: `--config FILE` and `section.field=value`.

    Its help lists all settings of `schema`, which is the whole configuration or one `section` of it. Call
    `parse_intermixed_args`; the result has `config` (a path or None) and `overrides` (a list of strings).
    """
    formatter = argparse.RawDescriptionHelpFormatter
    parser = _SettingsParser(description=description, formatter_class=formatter)
    parser.schema, parser.section = schema, section
    parser.add_argument("--config", type=expand, help="YAML file with the settings that differ from the base model")
    add_overrides(parser, "settings, one per argument").completer = parser.complete_setting  # type: ignore[attr-defined]
    return parser


def corpus_parser(description: str | None, schema: type[Any]) -> argparse.ArgumentParser:
    """Return a parser as `settings_parser` does, for commands whose first arguments are a corpus.

    The result of `parse_intermixed_args` also has `corpus`: two text files, or one name that `data.train` accepts, or
    [] if a setting gives the corpus.
    """
    parser = _SettingsParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.schema, parser.section = schema, ""
    parser.add_argument("--config", type=expand, help="YAML file with settings")
    metavar = "FILE | section.field=value"
    text = "source file and target file, or one table, folder or dataset; and settings"
    parser.add_argument("overrides", nargs="*", action=_CorpusAndOverrides, metavar=metavar, help=text)
    return parser


def add_overrides(parser: argparse.ArgumentParser, text: str) -> argparse.Action:
    """Add the arguments `section.field=value`. A setting that is given twice ends the command with status 2."""
    return parser.add_argument("overrides", nargs="*", action=_Overrides, metavar="section.field=value", help=text)


class _Overrides(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        overrides = list(values or [])
        if repeated := repeated_override(overrides):
            parser.error(repeated)
        setattr(namespace, self.dest, overrides)


class _CorpusAndOverrides(_Overrides):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        words = list(values or [])
        overrides = [word for word in words if re.match(r"[\w.]+=", word) and not expand(word).exists()]
        super().__call__(parser, namespace, overrides, option_string)
        namespace.corpus = corpus = [word for word in words if word not in overrides]
        in_settings = any(word.startswith("data.train=") for word in overrides)
        if len(corpus) > 2:
            parser.error(f"give a source and a target file, or one table, folder or dataset, not {len(corpus)} names")
        if corpus and in_settings:
            parser.error("give either files or data.train")
        if not corpus and not in_settings and namespace.config is None:
            parser.error("give a source and a target file, such as my.en my.de")


class _SettingsParser(CommandParser):
    """A parser that makes the list of settings only if the help is printed."""

    schema: type[Any]
    section: str

    def format_help(self) -> str:
        text = super().format_help() + "\nsettings (section.field=default):\n"
        for setting in list_settings(self.schema, self.section):
            explanation = re.sub(r"\bNone\b", "null", setting.meaning)  # as users type it
            meaning = textwrap.wrap(f"{setting.kind.replace('`', '')}. {explanation}", 110)
            text += f"  {setting.name}={setting.default}\n" + textwrap.indent("\n".join(meaning), " " * 8) + "\n"
        return text

    def complete_setting(self, prefix: str, **_: Any) -> dict[str, str]:
        """Return the settings that begin with `prefix`, and the values of one whose values can be listed, with their
        meanings."""
        name, equals = prefix.partition("=")[:2]
        settings = [s for s in list_settings(self.schema, self.section) if s.name.startswith(name)]
        if equals:
            return {f"{name}={value}": s.meaning for s in settings if s.name == name for value in s.values}
        return {f"{setting.name}=": setting.meaning for setting in settings}
