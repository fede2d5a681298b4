"""The model card: the `README.md` of a model folder. Its first lines are settings that the Hugging Face Hub reads."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from transformer.config import ModelConfig

TRANSLATION = """```sh
python -m transformer.translate --model <this folder> "A sentence."
```

```python
from paper_transformer import Translator

print(Translator.from_pretrained("<this folder>")(["A sentence."]))
```"""
GENERATION = """```sh
python -m transformer.generate --model <this folder> --prompt "Once upon a time"
```

```python
from paper_transformer import Generator

print(Generator.from_pretrained("<this folder>").generate(["Once upon a time"])[0][0])
```"""


def model_card(
    title: str,
    model: ModelConfig,
    parameters: int,
    origin: str,
    sections: Sequence[str] = (),
    languages: Sequence[str] = (),
) -> str:
    """Return a model card.

    Args:
        origin: sentences about where the weights come from.
        sections: further sections in Markdown.
        languages: source and target language of a translation model.
    """
    gpt = model.architecture == "gpt"
    front = ["library_name: paper-transformer", f"pipeline_tag: {'text-generation' if gpt else 'translation'}"]
    front += ["language:", *yaml.safe_dump(list(languages)).splitlines()] if languages else []  # 'no' needs quotes
    kind = "A decoder-only Transformer (GPT)" if gpt else "An encoder-decoder Transformer"
    layers = (
        f"{model.n_layers} layers" if gpt else f"{model.n_layers} encoder and {model.decoder_layers} decoder layers"
    )
    shape = (
        f"{kind} with {parameters:,} parameters: {layers}, d_model {model.d_model}, {model.n_heads} heads, "
        f"d_ff {model.d_ff}, dropout {model.dropout:g}, {model.norm}-norm, vocabulary of {model.vocab_size:,}, "
        f"at most {model.max_len:,} tokens."
    )
    parts = [f"\n# {title}", shape, origin, GENERATION if gpt else TRANSLATION, *sections]
    return "\n".join(["---", *front, "---", "\n\n".join(part.rstrip("\n") for part in parts if part), ""])


def public_name(name: str) -> str:
    """Return the name of a corpus or a model without the folder if it is local: model cards are published."""
    path = name.split(":")[0]
    local = path.startswith((".", "/", "~")) or path.count("/") > 1 or "*" in path or Path(path).exists()
    return Path(name).name if local else name
