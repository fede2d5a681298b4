"""Section 6.1's BLEU: tokenised, case-sensitive, compounds split, as tensor2tensor's `get_ende_bleu.sh` counts it.

That script turns Unicode quotation marks into ASCII ones, runs Moses' tokenizer, splits compounds at their hyphens
and calls Moses' `multi-bleu.perl`. Here sacremoses stands for the first two, and sacreBLEU, told to split at spaces
and not to smooth, for the last. Departure from the script: its reference was tokenised beforehand by others; ours is
raw text, so both sides take all the steps.
"""

import re
from importlib.metadata import version

from sacrebleu.metrics import BLEU

HYPHEN = re.compile(rb"(\S)-(\S)")


def prepare(lines: list[str], language: str) -> list[str]:
    """Lines as the measure compares them: tokens between single spaces, `a-b` as `a ##AT##-##AT## b`.

    Markup characters come out escaped (`&` as `&amp;`), since the script does not tell the tokenizer otherwise. For a
    `language` that Moses has no abbreviations for, it takes the English ones.
    """
    from sacremoses import MosesPunctNormalizer, MosesTokenizer  # slow to import

    tokenizer, normalizer = MosesTokenizer(language), MosesPunctNormalizer(language)
    texts = [normalizer.replace_unicode_punct(line) for line in lines]
    return [split_compounds(tokenizer.tokenize(text, return_str=True)) for text in texts]


def split_compounds(line: str) -> str:
    """Every hyphen between two bytes that are no white space, from the left and without overlap.

    On bytes, as Perl reads them: of `a-b-c` only the first hyphen is split, since `b` is used up, but of `a-ö-c` both,
    since `ö` is two bytes.
    """
    return HYPHEN.sub(rb"\1 ##AT##-##AT## \2", line.encode()).decode()


def multi_bleu() -> BLEU:
    """A metric that counts as `multi-bleu.perl` does: tokens between spaces, corpus 4-gram BLEU, no smoothing."""
    return BLEU(tokenize="none", smooth_method="none", force=True)


def describe_tokens(language: str) -> str:
    """What stands for `tok:none` in the signature."""
    return f"tok:moses-{language}+compounds|sacremoses:{version('sacremoses')}"
