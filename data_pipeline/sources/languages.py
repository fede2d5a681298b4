"""Languages: their codes and names in headers, their scripts and commonest words in text.

A single sentence is too short to tell its language: give a column or a corpus. Text in a language that is not in the
table is never reported.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from common.writing_systems import letters_by_script, split_words

FEWEST_WORDS = 20
"""Words, or letters of a script, below which a text is too short to tell its language."""
FEWEST_DIFFERENT = 3
"""Different common words that show a language."""

# code, other codes | names, in English and in the language | scripts | commonest words (only if others use the script)
_TABLE = """
en eng | english | Latin | the of and to a in is it you that he was for on are with we she they this i not be have
de deu ger | german deutsch | Latin | der die das und ist sind war mit ein eine auf von es nicht ich du er wir sie zu
fr fra fre | french français francais | Latin | le la les et est sont une un des dans du il elle vous pas je nous que
es spa | spanish español espanol castellano | Latin | el los las y es son con una un del en por lo no se que yo está
it ita | italian italiano | Latin | il gli le e è sono con una un della di per lo non si che io ho nel
nl nld dut | dutch nederlands | Latin | de het en is zijn was met een van op er niet hij ik dat wij ze je te
pt por | portuguese português portugues | Latin | o os as e é são com uma um do da em por não se que eu ele para
ro ron rum | romanian română romana | Latin | și si este sunt cu o un de la în nu pe care eu din să au mai
ca cat | catalan català catala | Latin | el els les i és són amb una un del en per no que jo la és al
pl pol | polish polski | Latin | i w na z się jest nie to że do o jak od za po przez ja są ma
cs ces cze | czech čeština cestina český | Latin | a v na se je že s z do o k jsou to jako by pro ve já jsem
sk slk slo | slovak slovenčina slovencina | Latin | a v na sa je že s z do o k sú to ako by pre vo som ja
sl slv | slovenian slovene slovenščina slovenscina | Latin | in v na se je da s z za so to ki ne bi po jaz sem ni
hr hrv | croatian hrvatski | Latin | i u na se je da s za su to koji ne bi po od sam nije što
bs bos | bosnian bosanski | Latin | i u na se je da s za su to koji ne bi po od sam nije što
sv swe | swedish svenska | Latin | och det att i en är som på av för med inte den till har ett jag han vi
da dan | danish dansk | Latin | og det at i en er som på af for med ikke den til har et jeg han vi
no nor nb nob nn nno | norwegian norsk bokmål nynorsk | Latin | og det at i en er som på av for med ikke den til har et
is isl ice | icelandic íslenska islenska | Latin | og að í á er sem það við ekki en um til ég hann var með
fi fin | finnish suomi | Latin | ja on ei että se oli hän ovat mutta niin kun minä joka olen tämä
et est | estonian eesti | Latin | ja on ei et see oli ta mis aga kui ma nad ning ka
lv lav | latvian latviešu latviesu | Latin | un ir ar no uz par ka tas es viņš ne kas bija lai
lt lit | lithuanian lietuvių lietuviu | Latin | ir yra su iš į kad tai ne aš jis kaip buvo bet ar
hu hun | hungarian magyar | Latin | a az és hogy nem is egy van ez volt de meg én mint ki
tr tur | turkish türkçe turkce | Latin | ve bir bu da de için ile çok o ne var ben mi değil
id ind | indonesian bahasa | Latin | yang dan di ini itu dengan untuk tidak dari dalam saya akan pada adalah
ms msa may | malay melayu | Latin | yang dan di ini itu dengan untuk tidak dari dalam saya akan pada ialah
vi vie | vietnamese việt viet | Latin | và là của có không một được cho trong người tôi này với đã
sw swa | swahili kiswahili | Latin | na ya wa kwa ni katika la za hii huo kuwa mimi cha
eo epo | esperanto | Latin | la kaj de estas mi en ne al vi li ke por kun
ga gle | irish gaeilge | Latin | an na agus is tá ar a i go sé ní bhí mé
cy cym wel | welsh cymraeg | Latin | y yr a yn i mae o ar ei ac nid oedd
eu eus baq | basque euskara | Latin | eta da ez du bat dira dut zen nik hau bere
gl glg | galician galego | Latin | o os as e é son con unha un do da en por non se que eu
sq sqi alb | albanian shqip | Latin | dhe në të një është për nuk me që nga unë
af afr | afrikaans | Latin | die en is nie van het in ek dat op sy
ru rus | russian русский | Cyrillic | и в не на я что он с это как а но она его по
uk ukr | ukrainian українська | Cyrillic | і в не на я що він з це як а але вона його та є
be bel | belarusian беларуская | Cyrillic | і ў не на я што ён з гэта як а але яна яго
bg bul | bulgarian български | Cyrillic | и в не на аз че той с това как да е се от за
sr srp | serbian српски srpski | Cyrillic, Latin | и у не на ја да је се за су од i u na ja da je se za su od
mk mkd mac | macedonian македонски | Cyrillic | и во не на јас дека тој со ова како да е се од
kk kaz | kazakh қазақ | Cyrillic | және мен бұл бір үшін деп емес да де ол бар
mn mon | mongolian монгол | Cyrillic | нь юм байна энэ би тэр бол ба гэж
el ell gre | greek ελληνικά | Greek |
ka kat geo | georgian ქართული | Georgian |
hy hye arm | armenian հայերեն | Armenian |
he heb iw | hebrew עברית | Hebrew |
ar ara | arabic العربية عربي | Arabic | في من على أن إلى هذا لا ما هو كان التي عن
fa fas per | persian farsi فارسی | Arabic | در و به از که این را است با آن می
ur urd | urdu اردو | Arabic | میں اور کے کی ہے کا سے کو نے یہ
hi hin | hindi हिन्दी हिंदी | Devanagari | है में और के की का से को यह हैं नहीं
mr mar | marathi मराठी | Devanagari | आहे आणि या ते ही हे नाही मी
ne nep | nepali नेपाली | Devanagari | छ र को मा छन् हो यो लाई म
bn ben | bengali বাংলা | Bengali |
pa pan | punjabi ਪੰਜਾਬੀ | Gurmukhi |
gu guj | gujarati ગુજરાતી | Gujarati |
ta tam | tamil தமிழ் | Tamil |
te tel | telugu తెలుగు | Telugu |
kn kan | kannada ಕನ್ನಡ | Kannada |
ml mal | malayalam മലയാളം | Malayalam |
si sin | sinhala සිංහල | Sinhala |
th tha | thai ไทย | Thai |
lo lao | lao ລາວ | Lao |
km khm | khmer ខ្មែរ | Khmer |
my mya bur | burmese myanmar မြန်မာ | Myanmar |
am amh | amharic አማርኛ | Ethiopic |
zh zho chi cmn yue | chinese mandarin 中文 汉语 漢語 中国語 普通话 | Chinese characters |
ja jpn | japanese 日本語 | kana, Chinese characters |
ko kor | korean 한국어 | Hangul |
"""
_OTHER_NAMES = """
en englisch anglais inglés ingles inglese engels
de allemand alemán aleman tedesco duits
fr französisch francés frances francese
es spanisch espagnol spagnolo
it italienisch italien
pt portugiesisch portugais
nl niederländisch néerlandais
pl polnisch polonais
cs tschechisch tchèque
ru russisch russe ruso
uk ukrainisch
tr türkisch turc
sv schwedisch suédois
da dänisch danois
zh chinesisch chinois chino
ja japanisch japonais
ko koreanisch coréen
ar arabisch arabe
"""
# code | names in some other languages


@dataclass(frozen=True)
class Language:
    """How a language is recognised."""

    code: str
    name: str
    """Name in English."""
    names: frozenset[str]
    """Codes and names in lower case: what the header of a column may contain."""
    scripts: frozenset[str]
    words: frozenset[str]
    """Commonest words; empty if no other language of the table uses the script."""


@dataclass(frozen=True)
class Profile:
    """Scripts and words of a sample of text."""

    scripts: Counter[str]
    """Number of letters of each script."""
    words: Counter[str]

    def share_of_scripts(self, language: Language) -> float:
        """Return the share of the letters that belong to the scripts of the language."""
        letters = self.scripts.total()
        if letters < FEWEST_WORDS or (language.code in ("zh", "ja") and self._has_kana() != (language.code == "ja")):
            return 0.0
        return sum(self.scripts[script] for script in language.scripts) / letters

    def share_of_words(self, words: Iterable[str]) -> float:
        """Return the share of the words that are in `words`."""
        total = self.words.total()
        return sum(self.words[word] for word in words) / total if total >= FEWEST_WORDS else 0.0

    def has_several(self, words: Iterable[str]) -> bool:
        """Return True if several of `words` occur: "a" alone may be a letter of an exercise."""
        return sum(word in self.words for word in words) >= FEWEST_DIFFERENT

    def most_common(self, words: Iterable[str]) -> list[str]:
        """Return up to three of `words`, the commonest of this text first."""
        found = sorted((word for word in words if self.words[word]), key=lambda word: (-self.words[word], word))
        return found[:3]

    def _has_kana(self) -> bool:
        return self.scripts["kana"] > 0.05 * self.scripts.total()


@dataclass(frozen=True)
class Evidence:
    """How far two texts look like two languages, and how far like the same languages swapped; and why."""

    straight: float
    swapped: float
    reason: str
    """What shows that the texts are swapped. "" if they are not."""


@cache
def languages() -> dict[str, Language]:
    """Return the languages that can be recognised, by code."""
    return {language.code: language for language in map(_parse, _TABLE.strip().splitlines())}


def find_language(code: str) -> Language | None:
    """Return the language of a code such as `en`, `en-GB`, `deu` or `zh_Hans`, or None if it is not in the table."""
    first = re.split(r"[-_@.]", code.strip().casefold())[0]
    return next((language for language in languages().values() if first in language.names), None)


def names_of(code: str) -> frozenset[str]:
    """Return the codes and names of a language, in lower case. A language that is not in the table has its code."""
    language = find_language(code)
    return frozenset([code.casefold()]) | (language.names if language else frozenset())


@cache
def all_names() -> frozenset[str]:
    """Return the codes and names of all languages."""
    return frozenset(name for language in languages().values() for name in language.names)


def profile(texts: Iterable[str]) -> Profile:
    """Return the scripts and words of a text."""
    folded = [unicodedata.normalize("NFC", text.casefold()) for text in texts]
    words = Counter(word for text in folded for word in split_words(text) if word[0].isalpha())
    return Profile(letters_by_script(folded), words)


def compare(source: Profile, target: Profile, codes: tuple[str, str]) -> Evidence | None:
    """Return the evidence for the direction of two texts, or None if these two languages cannot be distinguished."""
    first, second = (find_language(code) for code in codes)
    if first is None or second is None or first == second:
        return None
    if first.scripts.isdisjoint(second.scripts) or {first.code, second.code} == {"zh", "ja"}:
        straight = source.share_of_scripts(first) + target.share_of_scripts(second)
        swapped = source.share_of_scripts(second) + target.share_of_scripts(first)
        if swapped > 1.0 and straight < 0.5:
            return Evidence(straight, swapped, _describe_scripts(source, target, first, second))
        return Evidence(straight, swapped, "")
    own, other = first.words - second.words, second.words - first.words
    straight = source.share_of_words(own) + target.share_of_words(other)
    swapped = source.share_of_words(other) + target.share_of_words(own)
    if swapped > 2 * straight and swapped > 0.04 and source.has_several(other) and target.has_several(own):
        return Evidence(straight, swapped, _describe_words(source, target, own, other))
    return Evidence(straight, swapped, "")


def find_language_problems(source: Iterable[str], target: Iterable[str], codes: tuple[str, str]) -> list[str]:
    """Return, with the evidence, that source and target look swapped, or like another language than expected."""
    texts = profile(source), profile(target)
    evidence = compare(*texts, codes)
    if evidence is not None and evidence.reason:
        return [f"source and target look swapped ({codes[1]}-{codes[0]}, not {codes[0]}-{codes[1]}): {evidence.reason}"]
    found = zip(("source", "target"), texts, codes, strict=True)
    return [f"the {role} {foreign}" for role, text, code in found if (foreign := describe_foreign(text, code))]


def guess(text: Profile, expected: Iterable[Language] = ()) -> Language | None:
    """Return the language that a text looks like, or None if that is not certain.

    A language of `expected` is preferred to one that looks almost the same, such as Danish to Norwegian.
    """
    if max(text.words.total(), text.scripts.total() // 4) < FEWEST_WORDS:
        return None
    scores = {language.code: _score(text, language) for language in languages().values()}
    best = max(scores, key=lambda code: scores[code])
    if scores[best] < 0.1:
        return None
    near = [language for language in expected if scores[language.code] >= 0.8 * scores[best]]
    return near[0] if len(near) == 1 else languages()[best]


def _score(text: Profile, language: Language) -> float:
    share = text.share_of_scripts(language)
    if share < 0.5 or (language.words and not text.has_several(language.words)):
        return 0.0
    return text.share_of_words(language.words) if language.words else share


def describe_foreign(text: Profile, code: str) -> str:
    """Return that a text is in another language than expected, with the evidence; "" if that is not certain."""
    expected = find_language(code)
    found = guess(text, [expected] if expected else [])
    if expected is None or found is None or found == expected or 4 * _score(text, expected) > _score(text, found):
        return ""
    if found.words:
        evidence = f"{_quoted(text.most_common(found.words))} are {text.share_of_words(found.words):.0%} of its words"
    else:
        evidence = f"{text.share_of_scripts(found):.0%} of its letters belong to the script of {found.name}"
    return f"looks like {found.name} ({found.code}), not {expected.name} ({code}): {evidence}"


def _describe_words(source: Profile, target: Profile, own: Iterable[str], other: Iterable[str]) -> str:
    return (
        f"{_quoted(source.most_common(other))} are {source.share_of_words(other):.0%} of the source words, and "
        f"{_quoted(target.most_common(own))} are {target.share_of_words(own):.0%} of the target words"
    )


def _describe_scripts(source: Profile, target: Profile, first: Language, second: Language) -> str:
    return (
        f"{source.share_of_scripts(second):.0%} of the source letters belong to the script of {second.name}, and "
        f"{target.share_of_scripts(first):.0%} of the target letters to that of {first.name}"
    )


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(map(repr, words)) + (" and similar words" if words else "")


def _parse(line: str) -> Language:
    codes, names, scripts, words = (part.strip() for part in line.split("|"))
    others = {code: found for code, *found in map(str.split, _OTHER_NAMES.strip().splitlines())}
    named = [*codes.split(), *names.split(), *others.get(codes.split()[0], [])]
    one = named[len(codes.split())].capitalize()
    return Language(named[0], one, frozenset(named), frozenset(scripts.split(", ")), frozenset(words.split()))
