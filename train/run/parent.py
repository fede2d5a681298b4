"""The model that a run started from, for the model card: its name, its licence and the origin of its data."""

import re

from common.errors import InputError
from common.files import expand, read_small
from common.text import show_controls
from transformer.included_models import FOLDER, read_licence
from transformer.model_card import public_name
from transformer.pretrained import find_folder

DATA = re.compile(r"^## Data and licences\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def describe_parent(name: str) -> str:
    """Return a section of the model card about a model folder or a model of the Hub.

    The card of an included model also has the licences of its data, which this section quotes.
    """
    shown = public_name(name)
    try:
        folder = find_folder(name)
        licence = read_licence(folder)
    except (OSError, InputError):  # it was moved, or the Hub does not answer
        return _section(shown, "is not known, because the model was not found when this card was written")
    if licence is None:
        return _section(shown, "is not named in its card")
    quoted = DATA.search(read_small(folder / "README.md").decode()) if expand(name).parent == FOLDER else None
    text = _section(shown, f"is `{show_controls(licence).replace('`', '')[:80]}`")
    if quoted is None:
        return text
    return f"{text}\n\n{quoted[0].strip().replace('## Data and licences', '### Data of the parent model', 1)}"


def _section(name: str, licence: str) -> str:
    return (
        f"## Parent model\n\nTraining started from the weights of `{name}`. The licence of that model {licence}. Its "
        "conditions also apply to these weights, besides those of the training text."
    )
