"""The public Python API: `from paper_transformer import Translator, Generator, ModelConfig`.

Each name is imported when it is used, so `import paper_transformer` is fast.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not Path(__file__).with_name("common").is_dir():  # a checkout: the rooms are beside this package, not in it
    root = str(Path(__file__).resolve().parent.parent)
    if root not in sys.path:  # started in another folder, or by the console command
        sys.path.insert(0, root)

from common.versions import package_version

if TYPE_CHECKING:
    from common.errors import InputError
    from evaluate.config import DecodeConfig, SampleConfig
    from evaluate.generator import Generator
    from evaluate.parser import Parser
    from evaluate.translation import Translation
    from evaluate.translator import Translator
    from transformer.config import ModelConfig
    from transformer.pretrained import push_to_hub

__version__ = package_version("paper-transformer")
__all__ = [
    "DecodeConfig", "Generator", "InputError", "ModelConfig", "Parser", "SampleConfig", "Translation", "Translator",
    "push_to_hub",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    match name:
        case "DecodeConfig":
            from evaluate.config import DecodeConfig

            return DecodeConfig
        case "Generator":
            from evaluate.generator import Generator

            return Generator
        case "InputError":
            from common.errors import InputError

            return InputError
        case "ModelConfig":
            from transformer.config import ModelConfig

            return ModelConfig
        case "Parser":
            from evaluate.parser import Parser

            return Parser
        case "SampleConfig":
            from evaluate.config import SampleConfig

            return SampleConfig
        case "Translation":
            from evaluate.translation import Translation

            return Translation
        case "Translator":
            from evaluate.translator import Translator

            return Translator
        case "push_to_hub":
            from transformer.pretrained import push_to_hub

            return push_to_hub
        case _:
            raise AttributeError(f"paper_transformer has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
