"""Find sentence ends: full stops of all scripts, rules for ordinal numbers and abbreviations of English and German.

In doubt, two sentences stay together: a long sentence is translated better than half a sentence.
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DIRECTION = "\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069"  # invisible marks between scripts of two directions
_OPENING = "\"'„“”»«›‹‚‘’([{¿¡\u200e\u200f\u202a\u202b\u2066\u2067\u2068"
_OPENING_WIDE = "「『（“‘《〈【(["
_CLOSING_WIDE = "」』）”’》〉】)]"
_MARKS = ".!?…؟۔‼⁇⁈⁉։"
_FULL_STOPS = "。！？｡।॥။។៕።፧፨"
"""Marks of Chinese, Japanese, Hindi, Burmese, Khmer and Amharic, which end a sentence also without a space."""
_SPACE = "[\\s\u200b\ufeff]"
# The lookbehind prevents quadratic time for a long run of marks: a match begins at the first mark only.
_END = re.compile(
    rf"""(?<![{_MARKS}])([{_MARKS}]+)["'»«›‹“”‘’)\]}}{_DIRECTION}]*{_SPACE}+"""
    rf"""|(?<![{_FULL_STOPS}])[{_FULL_STOPS}]+(["'{re.escape(_CLOSING_WIDE)}]*)({_SPACE}*)"""
)
_WORD = re.compile(r"\w+")
_NEAR = 40
"""Number of characters before and after a full stop that are examined."""
_QUOTATION = 200
"""Number of characters before a full stop in which an opening quotation mark is looked for, if no space follows."""

# Abbreviations that never end a sentence, because a name, a number or another word follows.
_NEVER = re.compile(
    r"(?:^|[^\w.])(?:dr|prof|mr|mrs|ms|messrs|st|gen|col|capt|lt|sgt|sen|rep|gov|rev|hon|hr|hrn|fr|frl|dipl|ing|med|hl"
    r"|vs|cf|ca|approx|bzw|vgl|sog|evtl|ggf|insb|geb|gest|mio|mrd|tel|str"
    r"|e\.\s?g|i\.\s?e|z\.\s?b|d\.\s?h|u\.\s?a|u\.\s?u|i\.\s?d\.\s?r|o\.\s?g|s\.\s?o)$",
    re.IGNORECASE,
)
# Abbreviations if a number follows; otherwise words ("No.", "Art.") that may end a sentence.
_BEFORE_A_NUMBER = _words("no nos nr nrn fig figs abb tab vol p pp s bd kap art abs sec ch eq §")
# Abbreviations that end a sentence only if a word of _STARTERS follows.
_MAYBE = _words(
    "etc usw usf inc ltd co corp gmbh jr sr jan feb mar apr jun jul aug sep sept oct okt nov dec dez al ff bros"
)
_STARTERS = _words(
    "the a an it he she they we i you this that these those there in on at but and so if when while after before as "
    "for however then what who how why his her their its our my "
    "der die das den dem ein eine einer es er sie wir ich ihr dies diese dieser dieses im am an auf bei mit nach vor "
    "und aber doch wenn als da dann danach dort hier auch nur nicht für zu zum zur was wer wie warum sein seine ihre "
    "man"
)


def split_sentences(text: str, language: str) -> list[str]:
    """Return the sentences of a text, each with the white space after it. Joined, they always equal the text.

    `language` is a code such as "en". Except in English, one or two digits with a full stop are an ordinal number
    ("am 3. Oktober").
    """
    sentences, start = [], 0
    for end in _END.finditer(text):
        if end.end() < len(text) and _is_end(text, start, end, language):
            sentences.append(text[start : end.end()])
            start = end.end()
    return [*sentences, text[start:]]


def _is_end(text: str, start: int, end: re.Match[str], language: str) -> bool:
    if end[1] is None:
        return _ends_outside_quotation(text, start, end)
    following = text[end.end() : end.end() + _NEAR].lstrip(f"{_OPENING}-–— ")
    if following[:1].islower():
        return False
    if end[1] != ".":
        return True
    before = text[max(start, end.start() - _NEAR) : end.start()]
    if _NEVER.search(before):
        return False
    written = (before.split() or [""])[-1].lstrip(_OPENING)
    word = written.lower()
    if word in _BEFORE_A_NUMBER and (following[:1].isdigit() or not (len(word) == 1 and written.isupper())):
        return not following[:1].isdigit()
    if word.isdigit() and end.start() - start <= _NEAR and before.strip() == word:  # number of a list item
        return False
    next_word = _WORD.match(following)
    return not _is_doubtful(word, language) or (next_word is not None and next_word[0].lower() in _STARTERS)


def _ends_outside_quotation(text: str, start: int, end: re.Match[str]) -> bool:
    """Return False for a full stop in a quotation after which the sentence continues, as in 「行く。」と言った。"""
    if end[2] and not end[3]:
        return text[end.end()] in _OPENING_WIDE
    before = text[max(start, end.start() - _QUOTATION) : end.end()]
    return all(before.count(opening) <= before.count(closing) for opening, closing in ("「」", "『』", "“”", "（）"))


def _is_doubtful(word: str, language: str) -> bool:
    """Return True if a word may be an abbreviation, an initial ("J.", "U.S.") or an ordinal number."""
    if word in _MAYBE or re.fullmatch(r"(?:[^\W\d]\.)*[^\W\d]", word):
        return True
    return not language.startswith("en") and re.fullmatch(r"\d{1,2}|[ivx]{2,}", word) is not None
