"""The model card: the `README.md` of a model folder. Its first lines are settings that the Hugging Face Hub reads."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.directions import Languages
from common.errors import InputError
from transformer.config import ModelConfig
from transformer.formats.marian import MODEL_TYPES, check_exportable

TRANSLATION = """```sh
python -m transformer.translate --model <this folder>{options} "A sentence."
```

```python
from paper_transformer import Translator

print(Translator.from_pretrained("<this folder>"{arguments})(["A sentence."]))
```"""
PARSING = """```sh
python -m transformer.parse --model <this folder> "Words are separated by spaces ."
```

```python
from paper_transformer import Parser

print(Parser.from_pretrained("<this folder>")(["Words are separated by spaces ."])[0])
```"""
GENERATION = """```sh
python -m transformer.generate --model <this folder> --prompt "Once upon a time"
```

```python
from paper_transformer import Generator

print(Generator.from_pretrained("<this folder>").generate(["Once upon a time"])[0][0])
```"""

TREE = "tree"
"""Target language of a parser."""
TAGS = ["attention-is-all-you-need", "pytorch"]


@dataclass(frozen=True)
class Score:
    """A measured score that the Hub shows beside the card."""

    test_set: str
    """Name of the test set."""
    metric: str
    """Name of the metric, such as BLEU."""
    value: float
    """The score, from 0 to 100."""
    signature: str
    """sacreBLEU's signature: everything that is needed to compute the score again."""


def model_card(
    title: str,
    model: ModelConfig,
    parameters: int,
    origin: str,
    sections: Sequence[str] = (),
    languages: Sequence[str] = (),
    datasets: Sequence[str] = (),
    direction: Languages | None = None,
) -> str:
    """Return a model card.

    Args:
        origin: sentences about where the weights come from.
        sections: further sections in Markdown.
        languages: languages of a translation model, the source language first.
        datasets: names on the Hub of datasets that the model was trained on.
        direction: the one that the examples choose, if the model has several.
    """
    gpt = model.architecture == "gpt"
    of_trees = TREE in languages[1:]
    known = [language for language in languages if language != TREE]
    front: dict[str, Any] = {"language": known} if known else {}
    front["library_name"] = "paper-transformer"
    if not of_trees:  # the Hub has no name for parsing
        front["pipeline_tag"] = "text-generation" if gpt else "translation"
    front["tags"] = [*TAGS, "constituency-parsing"] if of_trees else TAGS
    front |= {"datasets": list(datasets)} if datasets else {}
    kind = "A decoder-only Transformer (GPT)" if gpt else "An encoder-decoder Transformer"
    layers = (
        f"{model.n_layers} layers" if gpt else f"{model.n_layers} encoder and {model.decoder_layers} decoder layers"
    )
    shape = (
        f"{kind} with {parameters:,} parameters: {layers}, d_model {model.d_model}, {model.n_heads} heads, "
        f"d_ff {model.d_ff}, dropout {model.dropout:g}, {model.norm}-norm, vocabulary of {model.vocab_size:,}, "
        f"at most {model.max_len:,} tokens."
    )
    example = TRANSLATION.format(
        options="" if direction is None else f" --from {direction[0]} --to {direction[1]}",
        arguments="" if direction is None else f', source_lang="{direction[0]}", target_lang="{direction[1]}"',
    )
    usage = GENERATION if gpt else PARSING if of_trees else example
    more = "" if of_trees else transformers_note(model)
    parts = [f"# {title}", shape, origin, usage, more, *sections]
    return _join(front, "\n".join(["", "\n\n".join(part.rstrip("\n") for part in parts if part), ""]))


def complete_card(card: str, name: str, licence: str | None = None, scores: Sequence[Score] = ()) -> str:
    """Return a model card whose first lines also have tags, a licence and scores, in the form that the Hub reads.

    Args:
        name: name of the model.
        licence: the Hub's name of a licence, such as mit. None: as in the card.
        scores: replace those of the card. (): as in the card.

    Raises InputError if the first lines are not YAML between two lines `---`.
    """
    front, text = _split(card)
    front = front | {"tags": front.get("tags", TAGS)} | ({"license": licence} if licence else {})
    if scores:
        task = front.get("pipeline_tag", "translation")
        results = [
            {"task": {"type": task}, "dataset": _dataset(test), "metrics": _metrics(test, scores)}
            for test in dict.fromkeys(score.test_set for score in scores)
        ]
        front["model-index"] = [{"name": name, "results": results}]
    return _join(front, text)


def transformers_note(model: ModelConfig) -> str:
    """Return a sentence about the use with the library transformers; "" if it has no such model."""
    model_type = MODEL_TYPES.get(model.norm, "marian")
    try:
        check_exportable(model, model_type)
    except InputError:
        return ""
    return (
        "The library transformers cannot read this folder. This command writes one for its `AutoModelForSeq2SeqLM`: "
        f"`python -m transformer.convert --to {model_type} <this folder> <new folder>`"
    )


def hub_datasets(corpora: Any) -> list[str]:
    """Return the names of the Hub's datasets, such as `wmt/wmt14`, in the corpora of a setting."""
    if isinstance(corpora, dict):
        corpora = list(corpora.values())
    if not isinstance(corpora, str):
        return list(dict.fromkeys(name for corpus in corpora for name in hub_datasets(corpus)))
    name = corpora.split(":")[0]
    return [name] if re.fullmatch(r"[\w-]+/[\w-]+", name) and public_name(corpora) == corpora else []


def _split(card: str) -> tuple[dict[str, Any], str]:
    """Return the settings and the text of a card. A card without settings has {}."""
    found = re.match(r"---\n(.*?)^---\n", card, re.DOTALL | re.MULTILINE)
    if not found:
        return {}, card
    try:
        front = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise InputError(f"the first lines of README.md, between the two lines ---, are not YAML: {error}") from error
    if not isinstance(front, dict):
        raise InputError("the first lines of README.md, between the two lines ---, must have the form name: value")
    return front, card[found.end() :]


def _join(front: dict[str, Any], text: str) -> str:
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)}---\n{text}"


def _dataset(test_set: str) -> dict[str, str]:
    return {"name": test_set, "type": re.sub(r"[^\w./-]+", "-", test_set).strip("-")}


def _metrics(test_set: str, scores: Sequence[Score]) -> list[dict[str, Any]]:
    return [
        {
            "type": score.metric.lower().rstrip("0123456789"),  # the Hub's name of chrF2 is chrf
            "name": score.metric,
            "value": round(score.value, 2),
            "args": {"signature": score.signature},
        }
        for score in scores
        if score.test_set == test_set
    ]


def public_name(name: str) -> str:
    """Return the name of a corpus or a model without the folder if it is local: model cards are published."""
    path = name.split(":")[0]
    local = path.startswith((".", "/", "~")) or path.count("/") > 1 or "*" in path or Path(path).exists()
    return Path(name).name if local else name
