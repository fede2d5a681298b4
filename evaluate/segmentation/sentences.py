"""Where sentences end: rules for languages with full stops, with the abbreviations of English and German.

In doubt two sentences stay one: a model that gets a long sentence loses less than one that gets half a sentence.
"""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPENING = "\"'„“”»«›‹‚‘’([{¿¡"
_MARKS = ".!?…؟۔"
# The look behind keeps a long run of marks from being tried from each of them anew.
_END = re.compile(rf"""(?<![{_MARKS}])([{_MARKS}]+)["'»«›‹“”‘’)\]}}]*\s+|[。！？]+["'」』）]*\s*""")
_WORD = re.compile(r"\w+")
_NEAR = 40  # characters around a full stop that decide

# Never the end of a sentence: what follows belongs to them.
_NEVER = re.compile(
    r"(?:^|[^\w.])(?:dr|prof|mr|mrs|ms|messrs|st|gen|col|capt|lt|sgt|sen|rep|gov|rev|hon|hr|hrn|fr|frl|dipl|ing|med|hl"
    r"|vs|cf|ca|approx|bzw|vgl|sog|evtl|ggf|insb|geb|gest|mio|mrd|tel|str"
    r"|e\.\s?g|i\.\s?e|z\.\s?b|d\.\s?h|u\.\s?a|u\.\s?u|i\.\s?d\.\s?r|o\.\s?g|s\.\s?o)$",
    re.IGNORECASE,
)
# Abbreviations where a number follows; else the word itself ("No.", "Art.") may end a sentence.
_BEFORE_A_NUMBER = _words("no nos nr nrn fig figs abb tab vol p pp s bd kap art abs sec ch eq §")
# May end a sentence or not: they do where a word follows that often begins one.
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
    """The sentences of a text, each with the white space behind it: put together they are the text, in every case.

    `language` is a code such as "en"; outside of English a number of one or two digits with a full stop is an
    ordinal ("am 3. Oktober").
    """
    pieces, start = [], 0
    for end in _END.finditer(text):
        if end.end() < len(text) and _is_end(text, start, end, language):
            pieces.append(text[start : end.end()])
            start = end.end()
    return [*pieces, text[start:]]


def _is_end(text: str, start: int, end: re.Match[str], language: str) -> bool:
    if end[1] is None:  # a full stop of Chinese or Japanese
        return True
    following = text[end.end() : end.end() + _NEAR].lstrip(_OPENING)
    if following[:1].islower():
        return False
    if end[1] != ".":
        return True
    before = text[max(start, end.start() - _NEAR) : end.start()]
    if _NEVER.search(before):
        return False
    word = (before.split() or [""])[-1].lstrip(_OPENING).lower()
    if word in _BEFORE_A_NUMBER:
        return not following[:1].isdigit()
    if word.isdigit() and end.start() - start <= _NEAR and before.strip() == word:  # the number of an item in a list
        return False
    next_word = _WORD.match(following)
    return not _is_doubtful(word, language) or (next_word is not None and next_word[0].lower() in _STARTERS)


def _is_doubtful(word: str, language: str) -> bool:
    """True for what may be an abbreviation, an initial ("J.", "U.S.") or an ordinal."""
    if word in _MAYBE or re.fullmatch(r"(?:[^\W\d]\.)*[^\W\d]", word):
        return True
    return not language.startswith("en") and re.fullmatch(r"\d{1,2}|[ivx]{2,}", word) is not None
