"""Glossaries: the file, source terms in a text, target terms in every translation."""

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer
from evaluate.backends.ctranslate2 import CTranslate2Backend
from evaluate.backends.pytorch import PyTorchBackend
from evaluate.config import DecodeConfig, SampleConfig
from evaluate.documents import translate_document
from evaluate.glossary import Glossary, find_word_ends, has_term, make_term
from evaluate.shortlist import RestrictedOutput, Shortlist
from evaluate.translator import Translator
from tests.tiny_model import TEXT, load_translator, make_folder
from transformer import translate

CONFIG = DecodeConfig(beam=3, max_extra=6)
PAIRS = [("cat", "Hauskatze"), ("old book", "altes Buch"), ("book", "Heft"), ("it", "es"), ("the letter", "东西")]
LINES = [*TEXT[:3], "A cat reads.", "It is the cat's old book and a book.", "The CAT (the cat) reads the letter."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"), max_len=80)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Translator:
    return load_translator(folder, CONFIG)[0]


@pytest.fixture(scope="module")
def translator(plain: Translator) -> Translator:
    return plain.with_glossary(PAIRS)


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *args: str) -> str:
    monkeypatch.setattr(sys, "argv", ["translate", "--beam", "2", "--max-extra", "4", *args])
    translate.main()
    return capsys.readouterr().out


# The file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "terms.tsv has no terms. Give one term per line: source term, tab, target term."),
        ("\n  \n", "terms.tsv has no terms"),
        ("cat\tKatze\ndog", "line 2 of .*terms.tsv has 1 column; it must have 2 columns of text. Give one term"),
        ("cat\tKatze\tf", "line 1 of .*terms.tsv has 3 columns; it must have 2 columns of text"),
        ("cat\t ", "line 1 of .*terms.tsv has an empty term"),
        ("\tKatze", "line 1 of .*terms.tsv has an empty term"),
        (
            "cat\tKatze\ndog\tHund\n cat\tKater",
            "line 3 of .*terms.tsv translates 'cat' as 'Kater', but line 1 as 'Katze'. Remove one.",
        ),
    ],
)
def test_file_that_is_no_glossary_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        Glossary.read(file)


def test_glossary_is_read_from_file_or_pairs(tmp_path: Path) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text("\ufeffcat\tKatze\r\n\r\nold\u00a0 dog \talter Hund\ncat\tKatze\n", encoding="utf-8")
    expected = (("cat", "Katze"), ("old dog", "alter Hund"))
    assert Glossary.open(file).pairs == Glossary.open(iter(expected)).pairs == expected
    with pytest.raises(InputError, match="pair 1 of the glossary is 'cat'; it must have 2 columns of text"):
        Glossary.open(["cat"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="pair 1 of the glossary is \\('cat', 3\\); it must have 2"):
        Glossary.open([("cat", 3)])  # type: ignore[list-item]


# Source terms


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A cat, a CAT and cats.", ["Katze"]),
        ("concatenate", []),
        ("hard disk; disk", ["Festplatte", "Scheibe"]),
        ("hard\u00a0disk", ["Festplatte"]),
        ("the hard  disk", ["Festplatte"]),
        ("It is in IT.", ["Informatik"]),
        ("We use C++.", ["C++"]),
        ("(cat)", ["Katze"]),
        ("这只猫吃", ["Katze"]),
        ("cafe\u0301", ["Café"]),
        ("", []),
    ],
)
def test_source_terms_are_found_as_words(text: str, found: list[str]) -> None:
    pairs = [("cat", "Katze"), ("disk", "Scheibe"), ("hard disk", "Festplatte"), ("IT", "Informatik")]
    glossary = Glossary.open([*pairs, ("C++", "C++"), ("猫", "Katze"), ("café", "Café")])
    assert glossary.find(text) == found


def test_source_terms_are_replaced() -> None:
    glossary = Glossary.open([("hard disk", "Festplatte"), ("cat", "Katze")])
    text = "The hard  disk of the Cat's\u00a0owner"
    assert glossary.replace(text, ["Festplatte", "Katze"]) == "The Festplatte of the Katze's owner"
    assert glossary.replace(text, ["Katze"]) == "The hard  disk of the Katze's owner"
    assert glossary.replace(text, []) == text
    assert glossary.replace("A\u00a0dog.", ["Katze"]) == "A\u00a0dog."


def test_target_term_is_a_word_of_the_translation() -> None:
    assert has_term("Die Katze.", "Katze")
    assert has_term("„Katze“-Video", "Katze")
    assert not has_term("Die Katzen.", "Katze")
    assert not has_term("die katze", "Katze")
    assert has_term("Klein ist sie.", "klein")
    assert has_term("东西很好", "东西")


# Target terms in translations


def check(found: str, line: str) -> None:
    for target in Glossary.open(PAIRS).find(line):
        assert has_term(found, target), (found, target)


@pytest.mark.parametrize(("beam", "n_best"), [(1, 1), (2, 2), (4, 3)])
def test_every_translation_has_its_terms(translator: Translator, beam: int, n_best: int) -> None:
    own = translator.with_glossary(PAIRS)
    own.config = replace(CONFIG, beam=beam)
    for line, found in zip(LINES, own.translate(LINES, n_best=n_best), strict=True):
        assert len(found) <= n_best
        for translation in found:
            check(translation.text, line)


def test_random_glossaries_are_enforced(plain: Translator) -> None:
    draw = random.Random(3)
    words = sorted({word.strip(".,") for line in TEXT[:3] for word in line.split()})
    letters = ["Der", "Hund", "kauft", "es", "altes", "Buch,", "und", "(es)", "x-fällig", "ñ", "东", "x9", ".", "ß"]
    for _ in range(12):
        pairs = {draw.choice(words).lower(): " ".join(draw.sample(letters, draw.randint(1, 3))) for _ in range(4)}
        own = plain.with_glossary(pairs.items())
        for line, found in zip(TEXT[:3], own(TEXT[:3]), strict=True):
            assert own.glossary.lost(line, found) == []


def test_lines_without_terms_are_unchanged_beside_others(plain: Translator, translator: Translator) -> None:
    lines = [TEXT[3], LINES[3], "A dog buys.", LINES[4], "42", ""]
    alone = plain.translate(lines, n_best=2)
    found = translator.translate(lines, n_best=2)
    for number in (0, 2, 4, 5):
        assert found[number] == alone[number]
    assert found[1] != alone[1]


def test_translations_with_terms_do_not_depend_on_the_batch(translator: Translator) -> None:
    together = translator.translate(LINES, n_best=2)
    for line, found in zip(LINES, together, strict=True):
        alone = translator.translate([line], n_best=2)[0]
        assert [t.tokens for t in found] == [t.tokens for t in alone]
        assert [t.score for t in found] == pytest.approx([t.score for t in alone], abs=1e-12)


def test_float32_model_on_disk_takes_a_glossary(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS), encoding="utf-8")
    own = Translator.from_pretrained(folder, CONFIG, "cpu", glossary=file)
    for line, found in zip(LINES, own(LINES), strict=True):
        check(found, line)


def test_protected_spans_and_terms_are_both_kept(translator: Translator) -> None:
    lines = ["The <b>cat</b> sees {x}.", "An <i>old book</i> of %s", "See https://example.com and the cat 😊"]
    for line, found in zip(lines, translator(lines), strict=True):
        check(found, line.replace("<i>", "").replace("</i>", ""))
    assert "{x}" in translator(lines[:1])[0]
    html = translate_document(translator, "<p>The <b>cat</b>.</p><script>cat</script>", "html")
    assert "Hauskatze" in html
    assert "<script>cat</script>" in html


def test_prefix_and_terms_are_both_kept(translator: Translator) -> None:
    (found,) = translator.translate(["A cat."], prefixes=["Der Hund"])
    assert found[0].text.startswith("Der Hund")
    check(found[0].text, "A cat.")


def test_shortlist_contains_the_terms(folder: Path) -> None:
    base, model = load_translator(folder, CONFIG)
    few_VC = torch.tensor([[EOS_ID, 300, 301]]).expand(model.config.vocab_size, -1)
    restricted = RestrictedOutput(Shortlist(few_VC.clone()), model.output)
    own = Translator(PyTorchBackend(model, restricted=restricted), base.tokenizer, CONFIG).with_glossary(PAIRS)
    for line, found in zip(LINES, own(LINES), strict=True):
        check(found, line)


def test_term_divided_by_the_sentence_splitter_is_noted(plain: Translator) -> None:
    notes: list[str] = []
    own = plain.with_glossary([("cat. A dog", "Tiere")])
    own.translate(["The cat. A dog."], note=notes.append)
    assert "the translation of line 1 lacks terms of the glossary: a term was divided or replaced" in notes


def test_glossary_that_cannot_be_used_is_rejected(plain: Translator, folder: Path) -> None:
    with pytest.raises(InputError, match="terms of a sentence need 90 tokens, but an output has at most 80"):
        plain.with_glossary([("cat", "ñ" * 44)])(["The cat."])
    with pytest.raises(InputError, match="samples cannot contain the terms of a glossary"):
        plain.with_glossary(PAIRS).sample(["The cat."], SampleConfig())
    foreign = Translator(CTranslate2Backend.__new__(CTranslate2Backend), plain.tokenizer)
    with pytest.raises(InputError, match=r"the backend ctranslate2 does not support glossary\. Use the backend torch"):
        foreign.with_glossary(PAIRS)


def test_command_reads_a_glossary(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "terms.tsv"
    file.write_text("cat\tHauskatze\n")
    options = ["--model", str(folder), "--glossary", str(file)]
    assert "Hauskatze" in run(capsys, monkeypatch, *options, "The cat sees.")
    printed = run(capsys, monkeypatch, *options, "--json", "--token-scores", "--n-best", "2", "The cat sees.")
    for translation in json.loads(printed)["translations"]:
        assert "Hauskatze" in translation["text"]
        scores = (token["log_prob"] for token in translation["tokens"])
        assert sum(scores) == pytest.approx(translation["log_prob"], rel=1e-3)
    for more in (["--samples", "2"], ["--backend", "ctranslate2"]):
        with pytest.raises(SystemExit):
            run(capsys, monkeypatch, *options, *more, "The cat sees.")
    assert "--backend ctranslate2 does not support --glossary" in capsys.readouterr().err


# Tokens


@pytest.mark.parametrize("target", ["Haus", "das kleine Haus", "ñ", "es", "(es)", "东西", "x-9", "3,5"])
def test_all_forms_of_a_term_are_written_with_its_text(folder: Path, target: str) -> None:
    tokenizer = Tokenizer(folder / "tokenizer.model")
    term = make_term(tokenizer, target)
    before = tokenizer.encode_target(["Der ("])[0][:-1]
    for phrase in term.phrases:
        text = tokenizer.decode([[*before, *phrase.tokens]])[0]
        wanted = target if phrase.where != "start" or not target[0].islower() else target[0].upper() + target[1:]
        assert text.replace(" ", "") == f"Der({wanted.replace(' ', '')}"


def test_tokens_continue_words_or_not(folder: Path) -> None:
    tokenizer = Tokenizer(folder / "tokenizer.model")
    table = find_word_ends(tokenizer)
    before, token = tokenizer.encode_target(["a"])[0][:-1], {}
    for text in ("(", ",", "-", "b", "7", "ñ", "é", "东"):
        token[text] = tokenizer.encode_target([f"a{text}"])[0][len(before)]
    assert {text for text, one in token.items() if not table.begins_outside_V[one]} == {"b", "7", "ñ", "é", "东"}
    assert {text for text, one in token.items() if table.ends_outside_V[one]} == {"(", "-"}
    assert table.begins_outside_V[[EOS_ID, tokenizer.encode_target(["a b"])[0][-2]]].all()
