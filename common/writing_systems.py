"""Languages and scripts: codes of languages, the script of a text, and its words if no spaces separate them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_CODES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el "
    "en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu "
    "ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na "
    "nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn "
    "so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu "
)
CODES = frozenset(_CODES.split())
"""Two-letter codes of languages (ISO 639-1)."""
LONGER_CODES = {
    **dict.fromkeys(("zho", "chi", "cmn", "yue", "wuu", "nan", "hak", "lzh"), "zh"),
    "jpn": "ja", "kor": "ko", "tha": "th", "lao": "lo", "khm": "km", "mya": "my", "bur": "my", "bod": "bo",
    "tib": "bo", "dzo": "dz", "iii": "ii", "deu": "de", "ger": "de", "eng": "en", "fra": "fr", "fre": "fr",
    "spa": "es", "ita": "it", "por": "pt", "rus": "ru", "ukr": "uk", "pol": "pl", "ces": "cs", "cze": "cs",
    "nld": "nl", "dut": "nl", "tur": "tr", "ara": "ar", "arb": "ar", "heb": "he", "hin": "hi", "vie": "vi",
    "ell": "el", "gre": "el", "pes": "fa", "fas": "fa", "per": "fa", "urd": "ur",
}  # fmt: skip
"""Two-letter code by three-letter code (ISO 639-2 and 639-3), for common languages and those without spaces."""
UNSPACED_CODES = frozenset(("zh", "ja", "th", "lo", "km", "my", "bo", "dz", "ii"))
"""Languages whose script puts no space between words."""

_UNSPACED = (
    "\u0e00-\u0fff"  # Thai, Lao, Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"  # Khmer, Tai
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Chinese characters
    "\U00016fe0-\U00018d8f\U00020000-\U0003ffff"
    "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"  # kana
    "\u3105-\u312f\u31a0-\u31bf\ua000-\ua4cf"  # Bopomofo, Yi
)
UNSPACED = re.compile(f"[{_UNSPACED}]")
"""A character of a script that puts no space between words."""
_MARKS = (  # accents, vowel signs and joiners, which Python's \w leaves out
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u0711-\u07ff\u0800-\u0963\u0971-\u0df3\u135d-\u135f\u1ab0-\u1aff\u1dc0-\u1dff\u200c\u200d\u20d0-\u20ff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|(?:[{_MARKS}]|[^\W{_UNSPACED}])+|[^\w\s{_UNSPACED}{_MARKS}]+")
_SCRIPTS = {"CJK": "Chinese characters", "HIRAGANA": "kana", "KATAKANA": "kana"}
MOSTLY = 0.5
"""Smallest share of the letters that makes a script the script of a text."""


def language_code(name: str) -> str:
    """Return the two-letter code of a language: `zh` for zh, zh-CN, zh_Hant, zho_Hans and cmn.

    A code that is not known stays, in lower case and without its region.
    """
    code = re.split(r"[-_@.]", name.strip().lower())[0]
    return LONGER_CODES.get(code, code)


def is_language_code(name: str) -> bool:
    """Return True for a two-letter code, and for the three-letter codes in `LONGER_CODES`, with or without a region."""
    return bool(re.fullmatch(r"[A-Za-z]{2,3}([-_@][A-Za-z0-9]{2,8})*", name)) and language_code(name) in CODES


def split_words(text: str) -> list[str]:
    """Return the words of a text: letters and digits, or punctuation marks, that stand together.

    In a script that puts no space between words, each character counts as a word.
    """
    return _WORD.findall(text)


def count_words(text: str) -> int:
    """Return the number of words between spaces. In a script without spaces, each character counts as a word."""
    return len(UNSPACED.sub(r" \g<0> ", text).split())


def letters_by_script(lines: Iterable[str]) -> Counter[str]:
    """Return the number of letters of each script, by the script's name in Unicode, such as `Latin` or `Thai`.

    Hiragana and Katakana count as `kana`. A text in kana and Chinese characters is Japanese.
    """
    characters = Counter(character for line in lines for character in line)
    found: Counter[str] = Counter()
    for character, times in characters.items():
        if unicodedata.category(character)[0] == "L":
            name = unicodedata.name(character, "UNKNOWN").removeprefix("HALFWIDTH ").split()[0]
            found[_SCRIPTS.get(name, name.capitalize())] += times
    return found


def unspaced_share(lines: Iterable[str]) -> float:
    """Return the share of the letters and accents that are of a script without spaces between words."""
    characters = Counter(character for line in lines for character in line)
    letters = {one: times for one, times in characters.items() if unicodedata.category(one)[0] in "LM"}
    unspaced = sum(times for one, times in letters.items() if UNSPACED.match(one))
    return unspaced / max(1, sum(letters.values()))
