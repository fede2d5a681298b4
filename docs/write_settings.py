"""Write docs/settings.md, the list of all settings, from the dataclasses: `python -m docs.write_settings`."""

import re
from itertools import groupby
from pathlib import Path

from common.settings_list import Setting, list_settings, section_meaning
from train.config import RunConfig

PAGE = Path(__file__).resolve().parent / "settings.md"
INTRODUCTION = """# All settings

Write a setting as `section.field=value` on the command line of `train/train.py`, `train.doctor` or
`data_pipeline.prepare`, or in a YAML file under its section. A YAML file lists only what differs from the defaults, and
the defaults are the paper's base model. The command line overrides the file. `null` means "not set". Lists are written
`[a,b]` without spaces. A setting that is given twice, in a file or on the command line, is an error.

A setting of the type text takes what you type: `run_dir=2024_11_26` is a folder with this name, and `no` is Norwegian,
in a YAML file too. One pair of quotes around a value is removed, so `run_dir="null"` is a folder named null (in a
shell: `'run_dir="null"'`). A path in a list may contain pairs of brackets: `[a [1]/x.en,a [1]/x.de]`.
In a YAML file, put such a path in quotes.

The last column has the places of [the paper](paper.md) that define a setting. The others have none there.
`python train/train.py --help` prints the same list.

This page is generated from the dataclasses by `python -m docs.write_settings`; a test compares both.
"""


def page() -> str:
    """Return the settings page as Markdown."""
    parts = [INTRODUCTION]
    for section, settings in groupby(list_settings(RunConfig), key=lambda setting: setting.name.partition(".")[0]):
        rows = list(settings)
        nested = rows[0].name != section
        parts.append(f"## {section}\n" + (f"\n{section_meaning(RunConfig, section)}\n" if nested else ""))
        parts.append(
            "| setting | type or values | default | meaning | paper |\n|---|---|---|---|---|\n"
            + "".join(map(row, rows))
        )
    return "\n".join(parts)


def row(setting: Setting) -> str:
    """Return a row of the table."""
    meaning = re.sub(r"\bNone\b", "`null`", setting.meaning.replace("|", "\\|"))
    return f"| `{setting.name}` | {setting.kind} | `{setting.default}` | {meaning} | {setting.paper} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
