"""The paper's test set, newstest2014 English-German: its two editions, and which scores compare with Table 2."""

import hashlib
import unicodedata
from typing import Literal

Edition = Literal["all", "filtered"]

NAMES: dict[str, Edition] = {"wmt14/full": "all", "wmt14": "filtered"}
"""Edition by sacreBLEU's name of the English-German test set."""
DIGESTS: dict[str, Edition] = {
    "9a3f5b521009ad5be2b465e61e0a8e2eb831af4c26f67999dfc1419e2bab168c": "all",
    "ab41f38c0475c7c1c1327c3bbc87cc739769f503f98ccd58402c600ba98ad127": "filtered",
}
"""Edition by `digest` of the German reference, so that it does not depend on the file's name."""
REMOVED = "161-167 581-610 629-647 743-784 865-882 969-977 1000-1009 1100-1107 1225-1245 1435-1454 1553-1567 2230-2296"
"""Documents among the 3,003 lines, counted from 0, that the filtered edition does not contain."""
LINES: dict[Edition, int] = {"all": 3003, "filtered": 2737}
"""Number of lines of each edition."""


def digest(lines: list[str]) -> str:
    """Return the SHA-256 of a text. White space and the Unicode form of accents do not change it."""
    text = "\n".join("".join(unicodedata.normalize("NFC", line).split()) for line in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def find_edition(name: str | None, languages: tuple[str, str] | None, references: list[list[str]]) -> Edition | None:
    """Return the edition of newstest2014 English-German, or None for another test set.

    sacreBLEU's `name` decides if there is one, otherwise the text of the reference.
    """
    if name is not None:
        return NAMES.get(name) if languages == ("en", "de") else None
    return DIGESTS.get(digest(references[0]))


def filtered_rows() -> list[int]:
    """Return the indices of the 2,737 filtered lines among the 3,003, counted from 0."""
    ranges = [[int(number) for number in part.split("-")] for part in REMOVED.split()]
    removed = {row for first, last in ranges for row in range(first, last + 1)}
    return [row for row in range(LINES["all"]) if row not in removed]


def comparable_with_paper(edition: Edition | None, has_paper_bleu: bool) -> str:
    """Return a summary that states which score of a report compares with the paper's."""
    if edition is None:
        return (
            "None of these scores is comparable with the paper's 27.3, which is compound-split BLEU on newstest2014 "
            "English-German."
        )
    if edition == "filtered":
        return (
            "None of these scores is strictly comparable with the paper's 27.3, which is on all 3,003 lines of "
            "newstest2014 (sacreBLEU's wmt14/full). Compound-split BLEU is the same metric on 2,737 of these lines; "
            "sacreBLEU's scores are lower."
        )
    if not has_paper_bleu:
        return (
            "None of these scores is comparable with the paper's 27.3, which is compound-split BLEU. "
            "Give --langpair en-de to compute it."
        )
    return (
        "On newstest2014 English-German, all 3,003 lines, only compound-split BLEU is comparable with the paper's 27.3 "
        "(base) and 28.4 (big). sacreBLEU's scores are not; they are lower for the same translation."
    )
