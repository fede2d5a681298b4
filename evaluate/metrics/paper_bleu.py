"""Section 6.1's BLEU: tokenized, case-sensitive, compounds split, as in tensor2tensor's `get_ende_bleu.sh`.

That script replaces Unicode quotation marks by ASCII ones, runs Moses' tokenizer, splits compounds at their hyphens
and calls Moses' `multi-bleu.perl`. This module uses sacremoses for the first two steps. For the last step it uses
sacreBLEU, set to split at spaces and without smoothing. Differs from the script: the script compares with a reference
that others tokenized. This module takes the raw reference and applies all steps to hypothesis and reference.
"""

import re
from importlib.metadata import version

from sacrebleu.metrics import BLEU

HYPHEN = re.compile(rb"(\S)-(\S)")


def prepare(lines: list[str], language: str) -> list[str]:
    """Return the lines as tokens between single spaces, with `a-b` as `a ##AT##-##AT## b`.

    Markup characters are escaped (`&` becomes `&amp;`), because the script does not switch that off. For a `language`
    without abbreviations in Moses, the tokenizer uses the English ones.
    """
    from sacremoses import MosesPunctNormalizer, MosesTokenizer  # slow import

    tokenizer, normalizer = MosesTokenizer(language), MosesPunctNormalizer(language)
    texts = [normalizer.replace_unicode_punct(line) for line in lines]
    return [split_compounds(tokenizer.tokenize(text, return_str=True)) for text in texts]


def split_compounds(line: str) -> str:
    """Split at every hyphen between two bytes that are not white space, from the left and without overlap.

    Perl reads bytes, so this function does too. In `a-b-c` only the first hyphen is split, because `b` is already
    part of a match. In `a-ö-c` both hyphens are split, because `ö` has two bytes.
    """
    return HYPHEN.sub(rb"\1 ##AT##-##AT## \2", line.encode()).decode()


def multi_bleu() -> BLEU:
    """Return a metric that counts like `multi-bleu.perl`: tokens between spaces, corpus 4-gram BLEU, no smoothing."""
    return BLEU(tokenize="none", smooth_method="none", force=True)


def describe_tokens(language: str) -> str:
    """Return the part of the signature that replaces `tok:none`."""
    return f"tok:moses-{language}+compounds|sacremoses:{version('sacremoses')}"
