"""Each construct of the built-in corpus equals German written by hand, and `generate` keeps its splits apart."""
# ruff: noqa: E501 - an example, its English and its German are read side by side

import random
import re

import pytest

from data_pipeline.builtin.clauses import (
    DETERMINERS,
    HE,
    IT,
    SHE,
    THESE,
    THEY,
    THIS,
    WE,
    WHAT,
    WHEN,
    WHERE,
    WHERE_TO,
    WHO,
    WHY,
    YOU,
    Adverb,
    Clause,
    I,
    Modal,
    Nominal,
    NounPhrase,
    PrepPhrase,
    Sentence,
    render,
)
from data_pipeline.builtin.drawing import CAN, HAVE_TO, MAY, MUST, SHOULD, WANT
from data_pipeline.builtin.families import FAMILIES
from data_pipeline.builtin.grammar import generate, is_reserved
from data_pipeline.builtin.lexicon import ADJECTIVES, NOUNS, VERBS, Noun, Verb

PRONOUNS: dict[str, Nominal] = {
    "I": I, "you": YOU, "he": HE, "she": SHE, "we": WE, "they": THEY, "er": IT[0], "sie": IT[1], "es": IT[2],
    "who": WHO, "what": WHAT, "this": THIS, "these": THESE,
}  # fmt: skip
BY_FORM = {form: (noun, number == 1) for noun in NOUNS.values() for number, form in enumerate(noun.english) if form}


def np(words: str) -> NounPhrase:
    """The noun phrase of words like "the old lamps"; an is written a."""
    *before, last = words.split()
    noun, plural = BY_FORM[last]
    determiner = before.pop(0) if before and before[0] in DETERMINERS else ""
    return NounPhrase(determiner, noun, ADJECTIVES[before[0]] if before else None, plural)


def nominal(words: str) -> Nominal:
    return PRONOUNS[words] if words in PRONOUNS else np(words)


def say(subject: str, verb: str, thing: str = "", tense: str = "past", to: str = "", modal: Modal | None = None,
        negated: bool = False, question: bool = False) -> Clause:  # fmt: skip
    return Clause(nominal(subject), VERBS[verb], tense, nominal(thing) if thing else None, np(to) if to else None,
                  modal=modal, negated=negated, question=question)  # fmt: skip


def be(
    subject: str, adjective: str, tense: str = "past", verb: str = "be", degree: tuple[str, str] | None = None
) -> Clause:
    return Clause(nominal(subject), VERBS[verb], tense, predicate=ADJECTIVES[adjective],
                  degree=Adverb(*degree) if degree else None)  # fmt: skip


def at(clause: Clause, preposition: str, words: str, motion: bool = False) -> Clause:
    return clause._replace(place=PrepPhrase(preposition, np(words), motion))


def when(clause: Clause, english: str, german: str, front: bool = False) -> Clause:
    return clause._replace(time=Adverb(english, german), front="time" if front else "")


def often(clause: Clause, english: str, german: str) -> Clause:
    return clause._replace(often=Adverb(english, german))


def manner(clause: Clause, english: str, german: str) -> Clause:
    return clause._replace(manner=Adverb(english, german))


def ask(clause: Clause, front: str, adverb: Adverb | None = None) -> Clause:
    if front == "time":
        clause = clause._replace(time=adverb)
    elif front == "place":
        clause = clause._replace(place=adverb)
    return clause._replace(front=front, question=True)


NOW = "present"
PAIRS: list[tuple[Clause | Sentence, str, str]] = [
    # articles, gender, case and adjective endings
    (say("the woman", "buy", "a lamp"), "The woman bought a lamp.", "Die Frau kaufte eine Lampe."),
    (say("the man", "buy", "the old car", NOW), "The man buys the old car.", "Der Mann kauft das alte Auto."),
    (say("a old man", "find", "a key"), "An old man found a key.", "Ein alter Mann fand einen Schlüssel."),
    (say("a small child", "eat", "a apple"), "A small child ate an apple.", "Ein kleines Kind aß einen Apfel."),
    (say("my good friend", "sell", "his red bicycle"), "My good friend sold his red bicycle.",
     "Mein guter Freund verkaufte sein rotes Fahrrad."),
    (say("our neighbors", "have", "no dog", NOW), "Our neighbors have no dog.", "Unsere Nachbarn haben keinen Hund."),
    (say("her sister", "wear", "a dark coat", NOW), "Her sister wears a dark coat.", "Ihre Schwester trägt einen dunklen Mantel."),
    (say("they", "build", "a tall tower"), "They built a tall tower.", "Sie bauten einen hohen Turm."),
    (say("he", "buy", "a expensive ring"), "He bought an expensive ring.", "Er kaufte einen teuren Ring."),
    (say("she", "drink", "cold milk", NOW), "She drinks cold milk.", "Sie trinkt kalte Milch."),
    (say("I", "drink", "hot tea", NOW), "I drink hot tea.", "Ich trinke heißen Tee."),
    (say("we", "drink", "cold water", NOW), "We drink cold water.", "Wir trinken kaltes Wasser."),
    (say("two young women", "read", "many good books", NOW), "Two young women read many good books.",
     "Zwei junge Frauen lesen viele gute Bücher."),
    (say("these students", "understand", "this difficult rule", NOW), "These students understand this difficult rule.",
     "Diese Studenten verstehen diese schwierige Regel."),
    (say("the girl", "love", "her tired cat", NOW), "The girl loves her tired cat.", "Das Mädchen liebt ihre müde Katze."),
    (say("his mother", "cook", "potatoes", NOW), "His mother cooks potatoes.", "Seine Mutter kocht Kartoffeln."),
    (be("the sour apple", "small", NOW), "The sour apple is small.", "Der saure Apfel ist klein."),
    # weak nouns and dative plurals
    (say("the boy", "see", "a student"), "The boy saw a student.", "Der Junge sah einen Studenten."),
    (say("the doctor", "help", "the boy"), "The doctor helped the boy.", "Der Arzt half dem Jungen."),
    (say("I", "thank", "the gentleman"), "I thanked the gentleman.", "Ich dankte dem Herrn."),
    (say("the bear", "follow", "our neighbor"), "The bear followed our neighbor.", "Der Bär folgte unserem Nachbarn."),
    (say("the teacher", "trust", "the children", NOW), "The teacher trusts the children.", "Der Lehrer vertraut den Kindern."),
    (say("she", "congratulate", "her proud friends"), "She congratulated her proud friends.",
     "Sie gratulierte ihren stolzen Freunden."),
    (say("he", "talk about", "the lions"), "He talked about the lions.", "Er sprach über die Löwen."),
    # verbs: stem changes, separable prefixes, objects
    (say("the queen", "take", "a taxi", NOW), "The queen takes a taxi.", "Die Königin nimmt ein Taxi."),
    (say("my uncle", "turn on", "the radio", NOW), "My uncle turns on the radio.", "Mein Onkel schaltet das Radio ein."),
    (say("the woman", "call", "her brother"), "The woman called her brother.", "Die Frau rief ihren Bruder an."),
    (say("you", "invite", "the guests", NOW), "You invite the guests.", "Du lädst die Gäste ein."),
    (say("the nurse", "listen to", "he", NOW),
     "The nurse listens to him.", "Die Krankenschwester hört ihm zu."),
    (say("the train", "arrive"), "The train arrived.", "Der Zug kam an."),
    (say("I", "feed", "the ducks", NOW), "I feed the ducks.", "Ich füttere die Enten."),
    (say("I", "know", "", NOW), "I know.", "Ich weiß."),
    (say("the tie", "suit", "my father", NOW), "The tie suits my father.", "Die Krawatte steht meinem Vater."),
    (say("the house", "belong to", "we", NOW),
     "The house belongs to us.", "Das Haus gehört uns."),
    (say("we", "wait for", "the bus"), "We waited for the bus.", "Wir warteten auf den Bus."),
    (say("the artist", "dream of", "the castle", NOW), "The artist dreams of the castle.", "Der Künstler träumt vom Schloss."),
    (say("the cat", "play with", "the ball", NOW), "The cat plays with the ball.", "Die Katze spielt mit dem Ball."),
    (say("she", "think of", "you", NOW), "She thinks of you.", "Sie denkt an dich."),
    (say("the teacher", "give", "a book", to="the girl"), "The teacher gave the girl a book.",
     "Der Lehrer gab dem Mädchen ein Buch."),
    (say("he", "offer", "coffee", to="the guests"), "He offered the guests coffee.", "Er bot den Gästen Kaffee an."),
    (say("my aunt", "send", "a letter", NOW, to="her colleague"), "My aunt sends her colleague a letter.",
     "Meine Tante schickt ihrem Kollegen einen Brief."),
    # tenses and modals
    (say("the woman", "buy", "the lamp", "perfect"), "The woman has bought the lamp.", "Die Frau hat die Lampe gekauft."),
    (say("the bus", "depart", "", "perfect"), "The bus has departed.", "Der Bus ist abgefahren."),
    (say("the children", "wake up", "", "perfect"), "The children have woken up.", "Die Kinder sind aufgewacht."),
    (often(say("he", "clean up", "his room", "perfect"), "already", "schon"), "He has already cleaned up his room.",
     "Er hat sein Zimmer schon aufgeräumt."),
    (often(say("she", "write", "a letter", "perfect"), "already", "schon"), "She has already written a letter.",
     "Sie hat schon einen Brief geschrieben."),
    (say("the man", "repair", "the car", NOW, modal=CAN), "The man can repair the car.", "Der Mann kann das Auto reparieren."),
    (say("we", "find", "the key", modal=CAN), "We could find the key.", "Wir konnten den Schlüssel finden."),
    (say("the child", "read", "the novel", NOW, modal=WANT), "The child wants to read the novel.",
     "Das Kind will den Roman lesen."),
    (say("you", "call", "the doctor", NOW, modal=MUST), "You must call the doctor.", "Du musst den Arzt anrufen."),
    (say("they", "help", "their aunt", NOW, modal=SHOULD), "They should help their aunt.", "Sie sollten ihrer Tante helfen."),
    (say("the girl", "feed", "the rabbit", NOW, modal=MAY), "The girl may feed the rabbit.",
     "Das Mädchen darf das Kaninchen füttern."),
    (say("the farmer", "sell", "the cow", modal=HAVE_TO), "The farmer had to sell the cow.", "Der Bauer musste die Kuh verkaufen."),
    # place and direction
    (at(say("the key", "lie", "", NOW), "on", "the table"), "The key lies on the table.", "Der Schlüssel liegt auf dem Tisch."),
    (at(say("the bottle", "stand", "", NOW), "under", "the bench"), "The bottle stands under the bench.",
     "Die Flasche steht unter der Bank."),
    (at(say("the picture", "hang"), "in", "the kitchen"), "The picture hung in the kitchen.", "Das Bild hing in der Küche."),
    (at(say("she", "put (upright)", "the vase"), "on", "the table", True), "She put the vase on the table.",
     "Sie stellte die Vase auf den Tisch."),
    (at(say("he", "put (flat)", "the book"), "on", "the desk", True), "He put the book on the desk.",
     "Er legte das Buch auf den Schreibtisch."),
    (at(say("the boy", "put (flat)", "his cap"), "into", "the bag"), "The boy put his cap into the bag.",
     "Der Junge legte seine Mütze in die Tasche."),
    (at(say("the dog", "run"), "into", "the garden"), "The dog ran into the garden.", "Der Hund lief in den Garten."),
    (at(say("they", "go", "", NOW), "into", "the museum"), "They go into the museum.", "Sie gehen ins Museum."),
    (at(say("my uncle", "drive", "", "perfect"), "to", "the hotel"), "My uncle has driven to the hotel.",
     "Mein Onkel ist zum Hotel gefahren."),
    (at(say("the lady", "drive"), "to", "the school"), "The lady drove to the school.", "Die Dame fuhr zur Schule."),
    (at(say("the birds", "fly", "", NOW), "over", "the bridge"), "The birds fly over the bridge.", "Die Vögel fliegen über die Brücke."),
    (at(say("the tourist", "wait"), "in front of", "the church"), "The tourist waited in front of the church.",
     "Der Tourist wartete vor der Kirche."),
    (at(say("we", "swim"), "in", "the cold lake"), "We swam in the cold lake.", "Wir schwammen im kalten See."),
    (at(say("she", "buy", "a gift"), "for", "her son"), "She bought a gift for her son.", "Sie kaufte ein Geschenk für ihren Sohn."),
    # time, frequency, manner: order
    (when(say("the woman", "buy", "a lamp"), "yesterday", "gestern"), "The woman bought a lamp yesterday.",
     "Die Frau kaufte gestern eine Lampe."),
    (when(say("the woman", "buy", "a lamp"), "yesterday", "gestern", True), "Yesterday the woman bought a lamp.",
     "Gestern kaufte die Frau eine Lampe."),
    (when(say("the train", "depart"), "on Monday", "am Montag", True), "On Monday the train departed.",
     "Am Montag fuhr der Zug ab."),
    (when(say("the boy", "see", "she"), "last week", "letzte Woche"), "The boy saw her last week.",
     "Der Junge sah sie letzte Woche."),
    (when(at(say("he", "work"), "in", "the office"), "two days ago", "vor zwei Tagen"), "He worked in the office two days ago.",
     "Er arbeitete vor zwei Tagen im Büro."),
    (often(say("the teacher", "write", "letters", NOW), "often", "oft"), "The teacher often writes letters.",
     "Der Lehrer schreibt oft Briefe."),
    (at(manner(say("the girl", "sleep"), "well", "gut"), "on", "the sofa"), "The girl slept well on the sofa.",
     "Das Mädchen schlief gut auf dem Sofa."),
    # negation
    (say("the man", "buy", "the car", NOW, negated=True), "The man does not buy the car.", "Der Mann kauft das Auto nicht."),
    (say("she", "eat", "a pear", negated=True), "She did not eat a pear.", "Sie aß keine Birne."),
    (say("he", "read", "newspapers", NOW, negated=True), "He does not read newspapers.", "Er liest keine Zeitungen."),
    (say("we", "drink", "coffee", NOW, negated=True), "We do not drink coffee.", "Wir trinken keinen Kaffee."),
    (say("I", "find", "the ticket", NOW, modal=CAN, negated=True), "I cannot find the ticket.",
     "Ich kann die Fahrkarte nicht finden."),
    (say("she", "wait for", "the bus", negated=True), "She did not wait for the bus.", "Sie wartete nicht auf den Bus."),
    (at(say("he", "live", "", NOW, negated=True), "in", "the village"), "He does not live in the village.",
     "Er wohnt nicht im Dorf."),
    (say("they", "turn off", "er", "perfect", negated=True), "They have not turned it off.",
     "Sie haben ihn nicht ausgeschaltet."),
    (be("the soup", "hot", NOW)._replace(negated=True), "The soup is not hot.", "Die Suppe ist nicht heiß."),
    # questions
    (say("the woman", "buy", "the lamp", question=True), "Did the woman buy the lamp?", "Kaufte die Frau die Lampe?"),
    (say("you", "see", "my dog", "perfect", question=True), "Have you seen my dog?", "Hast du meinen Hund gesehen?"),
    (say("your brother", "get up", "", NOW, question=True), "Does your brother get up?", "Steht dein Bruder auf?"),
    (say("he", "swim", "", NOW, modal=CAN, question=True), "Can he swim?", "Kann er schwimmen?"),
    (be("the milk", "fresh", NOW)._replace(question=True), "Is the milk fresh?", "Ist die Milch frisch?"),
    (say("who", "buy", "the house", question=True), "Who bought the house?", "Wer kaufte das Haus?"),
    (ask(say("you", "buy", "what", "perfect"), "object"), "What have you bought?", "Was hast du gekauft?"),
    (ask(say("the man", "help", "who"), "object"), "Whom did the man help?", "Wem half der Mann?"),
    (ask(say("she", "greet", "who"), "object"), "Whom did she greet?", "Wen begrüßte sie?"),
    (ask(say("he", "read", "which novel", NOW), "object"), "Which novel does he read?", "Welchen Roman liest er?"),
    (ask(say("the child", "cry", "", NOW), "time", WHY), "Why does the child cry?", "Warum weint das Kind?"),
    (ask(say("the tram", "arrive"), "time", WHEN), "When did the tram arrive?", "Wann kam die Straßenbahn an?"),
    (ask(say("your aunt", "live", "", NOW), "place", WHERE), "Where does your aunt live?", "Wo wohnt deine Tante?"),
    (ask(say("they", "drive"), "place", WHERE_TO), "Where did they drive?", "Wohin fuhren sie?"),
    # description
    (be("the old house", "beautiful", NOW, degree=("very", "sehr")), "The old house is very beautiful.",
     "Das alte Haus ist sehr schön."),
    (be("the soup", "good", "past", "taste"), "The soup tasted good.", "Die Suppe schmeckte gut."),
    (be("the boy", "tired", NOW, "look"), "The boy looks tired.", "Der Junge sieht müde aus."),
    (be("you", "hungry", NOW, degree=("always", "immer")), "You are always hungry.", "Du bist immer hungrig."),
    # subordinate clauses
    (Sentence(say("I", "know", "", NOW), "that", say("the woman", "buy", "the car")), "I know that the woman bought the car.",
     "Ich weiß, dass die Frau das Auto kaufte."),
    (Sentence(say("he", "say"), "that", say("the train", "arrive")), "He said that the train arrived.",
     "Er sagte, dass der Zug ankam."),
    (Sentence(say("we", "hope", "", NOW), "that", say("she", "fall asleep", "", "perfect")),
     "We hope that she has fallen asleep.", "Wir hoffen, dass sie eingeschlafen ist."),
    (Sentence(say("they", "believe", "", NOW), "that", say("he", "help", "I", NOW, modal=CAN)),
     "They believe that he can help me.", "Sie glauben, dass er mir helfen kann."),
    (Sentence(say("the man", "sleep"), "because", be("he", "tired")), "The man slept because he was tired.",
     "Der Mann schlief, weil er müde war."),
    (Sentence(say("the girl", "laugh"), "although", be("I", "sad")), "The girl laughed although I was sad.",
     "Das Mädchen lachte, obwohl ich traurig war."),
    (Sentence(say("she", "cook", "the soup"), "while", at(say("we", "work"), "in", "the garden")),
     "She cooked the soup while we worked in the garden.", "Sie kochte die Suppe, während wir im Garten arbeiteten."),
    (Sentence(be("the woman", "sick", NOW), "If", say("the doctor", "visit", "she", NOW, modal=MUST)),
     "If the woman is sick, the doctor must visit her.", "Wenn die Frau krank ist, muss der Arzt sie besuchen."),
    (Sentence(say("the train", "arrive"), "When", say("the lady", "open", "the window")),
     "When the train arrived, the lady opened the window.", "Als der Zug ankam, öffnete die Dame das Fenster."),
    (Sentence(be("he", "tired"), "Although", say("he", "turn on", "the television")),
     "Although he was tired, he turned on the television.", "Obwohl er müde war, schaltete er den Fernseher ein."),
    # pronouns that follow the gender of their noun
    (Sentence(at(say("the pizza", "come"), "out of", "the oven"), "and", be("sie", "good", "past", "taste")),
     "The pizza came out of the oven and it tasted good.", "Die Pizza kam aus dem Ofen und sie schmeckte gut."),
    (Sentence(at(say("the cake", "come"), "out of", "the oven"), "and", be("er", "good", "past", "smell")),
     "The cake came out of the oven and it smelled good.", "Der Kuchen kam aus dem Ofen und er roch gut."),
    (Sentence(at(say("the bread", "come"), "out of", "the bakery"), "and", be("es", "fresh", "past", "look")),
     "The bread came out of the bakery and it looked fresh.", "Das Brot kam aus der Bäckerei und es sah frisch aus."),
    (Sentence(at(say("the cookies", "come"), "out of", "the oven"), "and", be("they", "sweet", "past", "taste")),
     "The cookies came out of the oven and they tasted sweet.", "Die Kekse kamen aus dem Ofen und sie schmeckten süß."),
    (Sentence(be("the car", "old", NOW), "but", manner(say("es", "drive", "", NOW), "fast", "schnell")),
     "The car is old, but it drives fast.", "Das Auto ist alt, aber es fährt schnell."),
    (Sentence(be("the coat", "elegant"), "but", say("er", "fit", "I", negated=True)),
     "The coat was elegant, but it did not fit me.", "Der Mantel war elegant, aber er passte mir nicht."),
    (Sentence(say("I", "buy", "the lamp"), "because", be("sie", "cheap")), "I bought the lamp because it was cheap.",
     "Ich kaufte die Lampe, weil sie billig war."),
    (Sentence(say("she", "sell", "the table"), "because", be("er", "big", degree=("too", "zu"))),
     "She sold the table because it was too big.", "Sie verkaufte den Tisch, weil er zu groß war."),
    (Sentence(say("the man", "buy", "the hat"), "but", say("he", "wear", "er", negated=True)),
     "The man bought the hat, but he did not wear it.", "Der Mann kaufte den Hut, aber er trug ihn nicht."),
    (Sentence(ask(say("the bag", "be", "", NOW), "place", WHERE), ".", say("I", "find", "sie", NOW, modal=CAN, negated=True)),
     "Where is the bag? I cannot find it.", "Wo ist die Tasche? Ich kann sie nicht finden."),
    (Sentence(Clause(THIS, VERBS["be"], predicate=np("my coat")), ".", be("er", "new", NOW)),
     "This is my coat. It is new.", "Das ist mein Mantel. Er ist neu."),
    (Sentence(Clause(THESE, VERBS["be"], predicate=np("our suitcases")), ".", be("they", "heavy", NOW)),
     "These are our suitcases. They are heavy.", "Das sind unsere Koffer. Sie sind schwer."),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "english", "german"), PAIRS, ids=[english for _, english, _ in PAIRS])
def test_render_equals_translation_written_by_hand(sentence: Clause | Sentence, english: str, german: str) -> None:
    assert render(sentence) == (english, german)


def test_render_examples_are_at_least_80() -> None:
    assert len({english for _, english, _ in PAIRS}) >= 80


@pytest.fixture(scope="module")
def train() -> list[tuple[str, str]]:
    return list(generate("train", 50_000, seed=1))


def test_lexicon_has_enough_words_of_each_kind_and_gender() -> None:
    assert len(NOUNS) >= 150
    assert len(VERBS) >= 80
    assert len(ADJECTIVES) >= 60
    assert all(sum(noun.gender == gender for noun in NOUNS.values()) >= 30 for gender in range(3))


def test_lexicon_has_no_english_form_of_noun_and_verb() -> None:
    verbs = {form for verb in VERBS.values() for form in (verb.base, verb.third, verb.past, verb.participle)}
    assert not verbs & set(BY_FORM)  # else the antecedent of "it" could not be found by its form


def test_lexicon_uses_only_classes_of_nouns() -> None:
    known = {name for noun in NOUNS.values() for name in noun.classes}
    asked = [verb.classes | verb.objects for verb in VERBS.values()] + [
        adjective.classes for adjective in ADJECTIVES.values()
    ]
    assert {name for names in asked for name in names} - {"-"} <= known


def test_generate_depends_on_seed() -> None:
    assert list(generate("train", 300, seed=5)) == list(generate("train", 300, seed=5))
    assert list(generate("train", 300, seed=5)) != list(generate("train", 300, seed=6))


@pytest.mark.parametrize("split", ["train", "valid", "test", "unseen"])
def test_generate_does_not_depend_on_start_of_range(split: str) -> None:
    whole = list(generate(split, 1200, seed=3))  # type: ignore[arg-type]
    assert whole[50:100] == list(generate(split, 50, seed=3, start=50))  # type: ignore[arg-type]
    assert whole[450:1100] == list(generate(split, 650, seed=3, start=450))  # type: ignore[arg-type]


def test_grammar_splits_share_no_sentence_for_any_seed(train: list[tuple[str, str]]) -> None:
    splits = [{text for text, _ in train}]
    splits += [{text for text, _ in generate(split, 2000, seed=2)} for split in ("valid", "test", "unseen")]
    assert [len(split) for split in splits[1:]] == [2000] * 3  # and none comes twice
    assert sum(len(split) for split in splits) == len(set.union(*splits))


def test_generate_rarely_repeats_training_sentence(train: list[tuple[str, str]]) -> None:
    assert len(set(train)) > 0.95 * len(train)


def test_generate_gives_each_english_sentence_single_translation(train: list[tuple[str, str]]) -> None:
    pairs = {*train, *(pair for seed in (1, 2) for pair in generate("unseen", 3000, seed))}
    assert len({english for english, _ in pairs}) == len(pairs)


def combinations(text: str) -> list[tuple[Noun, Verb]]:
    """Noun and verb of plain sentences: The NOUN VERB the NOUN."""
    match = re.fullmatch(r"(?:The|An?) (\w+) (\w+) (?:the|an?) (\w+)[.]", text)
    if not match:
        return []
    first, form, second = match.groups()
    verbs = [
        verb
        for verb in VERBS.values()
        if form in (verb.third, verb.past, verb.base) and verb.frame in ("acc", "dat") and not verb.particle
    ]
    return [(BY_FORM[noun][0], verb) for noun in (first, second) for verb in verbs]


def test_reserved_pairs_occur_only_in_unseen(train: list[tuple[str, str]]) -> None:
    seen = {pair for text, _ in train for pair in combinations(text)}
    assert len(seen) > 500
    assert not any(is_reserved(*pair) for pair in seen)
    unseen = [combinations(text) for text, _ in generate("unseen", 5000, seed=1)]
    plain = [pairs for pairs in unseen if pairs]
    assert len(plain) > 20
    assert all(any(is_reserved(*pair) for pair in pairs) for pairs in plain)


def test_is_reserved_is_true_for_5_percent_of_pairs() -> None:
    share = sum(is_reserved(noun, verb) for noun in NOUNS.values() for verb in VERBS.values()) / len(NOUNS) / len(VERBS)
    assert 0.04 < share < 0.06
    assert not is_reserved(NOUNS["pizza"], VERBS["come"])


def test_generate_uses_every_word_of_lexicon_in_training(train: list[tuple[str, str]]) -> None:
    words = {word for text, _ in train for word in re.findall(r"\w+", text)}
    assert set(NOUNS) <= words
    assert set(ADJECTIVES) <= words
    german = {word for _, text in train for word in re.findall(r"\w+", text)}
    assert all(
        german & {*verb.present_de, *verb.past_de, verb.infinitive, verb.participle_de} for verb in VERBS.values()
    )


def test_families_make_different_sentences() -> None:
    for family, share in FAMILIES:
        assert share > 0
        r = random.Random(0)
        assert len({render(family(r.random)) for _ in range(50)}) > 40, family.__name__


def test_generate_gives_well_formed_english(train: list[tuple[str, str]]) -> None:
    for text, _ in train:
        assert text[0].isupper()
        assert re.fullmatch(r"[A-Z][A-Za-z, ]*[.?]( [A-Z][A-Za-z, ]*[.?])?", text), text
        assert "  " not in text
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]| ,|\bi\b", text), text
        assert 4 <= len(text.split()) <= 14


def test_generate_gives_well_formed_german(train: list[tuple[str, str]]) -> None:
    for _, text in train:
        assert re.fullmatch(r"[A-ZÄÖÜ][A-Za-zäöüßÄÖÜ, -]*[.?]( [A-Z][A-Za-zäöüßÄÖÜ, -]*[.?])?", text), text
        assert "  " not in text
        assert ", und" not in text
        assert not re.search(r"[a-zß] (aber|dass|weil|obwohl|während)\b", text), text
        assert not re.search(r"\b(in dem|in das|zu dem|zu der|von dem) [A-ZÄÖÜ]", text), text


def test_generate_rejects_invalid_arguments() -> None:
    with pytest.raises(ValueError, match="no split 'dev'"):
        generate("dev", 1, seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 0, not n=-1"):
        generate("train", -1, seed=0)


def test_pronoun_result_can_make_pizza_sentence() -> None:
    family = next(family for family, _ in FAMILIES if family.__name__ == "pronoun_result")
    r = random.Random(0)
    made = (render(family(r.random)) for _ in range(200_000))
    wanted = ("The pizza came out of the oven and it tasted good.", "Die Pizza kam aus dem Ofen und sie schmeckte gut.")
    assert wanted in made
