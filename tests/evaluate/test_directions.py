"""Models of several directions: whatever encodes a source begins it with the tag of the target language."""

import json
import sys
from pathlib import Path

import pytest
import transformers
from fastapi.testclient import TestClient

from common.errors import InputError
from common.text import one_line
from data_pipeline.tokenizers.sentence_piece import EOS_ID, Tokenizer
from evaluate.config import DecodeConfig, SampleConfig
from evaluate.conversion import export_marian
from evaluate.evaluation import evaluate_model
from evaluate.explain.explanation import explain
from evaluate.rerank import open_choice
from evaluate.scorer import Scorer
from evaluate.test_sets import Selection, find_test_sets, folder_directions
from evaluate.translator import Translator
from serve.api import create_app
from serve.limits import Limits
from serve.models import Models
from serve.service import Service
from tests.tiny_model import TEXT, make_folder
from train.finetuning import find_parent
from transformer.formats.argos import export_argos
from transformer.formats.ctranslate2 import export_ctranslate2
from transformer.pretrained import read_about, save_int8

DIRECTIONS = [("en", "de"), ("en", "fr"), ("de", "en")]
GREEDY = DecodeConfig(beam=2, max_extra=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("several") / "model", directions=DIRECTIONS)


@pytest.fixture(scope="module")
def french(folder: Path) -> Translator:
    return Translator.from_pretrained(folder, GREEDY, "cpu", target_lang="fr")


def tag(folder: Path, language: str) -> int:
    return Tokenizer(folder / "tokenizer.model").pieces.index(f">>{language}<<")


def test_config_json_names_directions_and_newer_format(folder: Path) -> None:
    about = read_about(folder)
    assert (about["format_version"], about["directions"]) == (2, ["en-de", "en-fr", "de-en"])
    assert "target_lang" not in about
    assert folder_directions(folder, "en") == DIRECTIONS[:2]


def test_from_pretrained_chooses_direction(folder: Path, french: Translator) -> None:
    assert (french.source_lang, french.target_lang) == ("en", "fr")
    with pytest.raises(InputError, match=r"translates from en to de or en to fr or de to en\. Choose one with --to"):
        Translator.from_pretrained(folder)
    with pytest.raises(InputError, match=r"not to es\. Give another --to"):
        Translator.from_pretrained(folder, target_lang="es")


def test_with_direction_shares_weights(folder: Path, french: Translator) -> None:
    back = french.with_direction("de")
    assert (back.source_lang, back.target_lang) == ("de", "en")
    assert back.backend is french.backend
    assert french.with_direction(target_lang="fr") is french
    for translator, language in ((french, "fr"), (back, "en"), (back.with_direction("en", "de"), "de")):
        (ids,) = translator.encode(TEXT[:1])
        assert ids == [tag(folder, language), *Tokenizer(folder / "tokenizer.model").encode(TEXT[:1])[0]]
    one = Translator.from_pretrained(make_folder(folder.with_name("one")))
    assert one.with_direction("en", "de") is one
    with pytest.raises(InputError, match="this model translates from en to de, not to fr"):
        one.with_direction(target_lang="fr")
    with pytest.raises(InputError, match="Choose the direction before the glossary"):
        french.with_glossary([("cat", "a")]).with_direction("de")


def test_all_decoders_get_tag(folder: Path, french: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search, sampling, prefixes, glossaries, markup and scores read the ids of `encode`."""
    sources: list[tuple[int, ...]] = []
    for name in ("search", "sample", "token_log_probs", "cross_attention"):
        original = getattr(type(french.backend), name)

        def spy(self, batch, *rest, original=original):  # type: ignore[no-untyped-def]
            sources.extend(pair.source for pair in batch)
            return original(self, batch, *rest)

        monkeypatch.setattr(type(french.backend), name, spy)
    lines = [TEXT[0], "", "A <b>dog</b> is old. " * 8]
    french.translate(lines, n_best=2, note=lambda _: None)
    french.translate(lines[:1], prefixes=["A"], note=lambda _: None)
    french.sample(lines[:1], SampleConfig(num_samples=2), note=lambda _: None)
    french.with_glossary([("cat", "a")]).translate(lines[:1], note=lambda _: None)
    french.translate_masked([french.segmenter(protect=True).mask(lines[2])], note=lambda _: None)
    Scorer(french).score(lines[:1], TEXT[1:2])
    assert len(sources) > 10
    assert {source[0] for source in sources} == {tag(folder, "fr")}
    assert all(len(source) <= french.max_len and source[-1] == EOS_ID for source in sources)


def test_tag_in_text_is_text(folder: Path, french: Translator) -> None:
    (ids,) = french.encode([">>de<< The cat."])
    assert ids[0] == tag(folder, "fr")
    assert tag(folder, "de") not in ids
    assert french.tokenizer.decode([ids]) == [">>de<< The cat."]


def test_explanation_shows_tag(folder: Path) -> None:
    found = explain(folder, "The cat.", GREEDY, 5, (None, "fr"))
    assert found.sequences["encoder"].words[0] == ">>fr<<"


def test_reverse_model_may_be_same_folder(folder: Path, french: Translator) -> None:
    german = french.with_direction("en", "de")
    choose = open_choice((folder, 1.0), german)
    (ranked,) = choose(TEXT[:1], german.translate(TEXT[:1], n_best=2, note=lambda _: None))
    assert ranked
    with pytest.raises(InputError, match="not from fr to en"):
        open_choice((folder, 1.0), french)


def test_evaluate_model_takes_direction_from_files_or_option(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("x.en", "x.fr", "plain"):
        (tmp_path / name).write_text("A dog.\n", encoding="utf-8")
    plain = Selection(tmp_path / "plain", (tmp_path / "plain",))
    named = Selection(tmp_path / "x.en", (tmp_path / "x.fr",))

    def evaluate(selection: Selection, source: str | None = None, target: str | None = None) -> str:
        evaluate_model([str(folder)], selection, lambda _: GREEDY, languages=(source, target))
        return capsys.readouterr().err

    assert "warning" not in evaluate(named)
    assert "warning" not in evaluate(plain, None, "fr")
    assert "x.en is en-fr, but the model translates en-de" in evaluate(named, None, "de")
    with pytest.raises(InputError, match="Choose one with --to"):
        evaluate(plain)
    with pytest.raises(InputError, match="Give another --to"):
        evaluate(plain, None, "es")


def test_find_test_sets_reads_data_test_of_chosen_directions(folder: Path, tmp_path: Path) -> None:
    again = save_again(folder, tmp_path / "run")
    corpora = {f"{source}-{target}": [str(tmp_path / "t.x"), str(tmp_path / "t.y")] for source, target in DIRECTIONS}
    for name in ("t.x", "t.y"):
        (tmp_path / name).write_text("A dog.\n", encoding="utf-8")
    (again / "config.yaml").write_text(json.dumps({"data": {"train": corpora, "test": corpora}}), encoding="utf-8")
    assert [one.languages for one in find_test_sets(Selection(), again)] == DIRECTIONS
    assert [one.name for one in find_test_sets(Selection(), again, "en", "fr")] == ["en-fr t.x"]


def save_again(folder: Path, output: Path) -> Path:
    save_int8(folder, output)
    assert read_about(output)["directions"] == read_about(folder)["directions"]
    return output


@pytest.fixture(scope="module")
def client(folder: Path) -> TestClient:
    models = Models.load({folder: GREEDY}, "float32", "torch")
    return TestClient(create_app(Service(models, Limits(5000, 100, 30.0, 8, 100_000)), "0"))


def test_server_lists_and_translates_all_directions(folder: Path, french: Translator, client: TestClient) -> None:
    with client:
        languages = {one["code"]: sorted(one["targets"]) for one in client.get("/languages").json()}
        assert languages == {"en": ["de", "en", "fr"], "de": ["de", "en"], "fr": ["fr"]}
        for source, target in DIRECTIONS:
            answer = client.post("/translate", json={"q": "A dog.", "source": source, "target": target}).json()
            expected = french.with_direction(source, target)(["A dog."])
            assert answer["translatedText"] == expected[0]
        refused = client.post("/translate", json={"q": "A dog.", "source": "fr", "target": "en"})
        assert refused.status_code == 400


def test_ctranslate2_gets_tag_and_card_names_it(folder: Path, french: Translator, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    exported = export_ctranslate2(folder, tmp_path / "ct2")
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert 'source = [[">>de<<"] + tokenizer.encode("A sentence.", out_type=str)]' in card
    assert "begins with the tag of its target language: >>de<<, >>fr<<, >>en<<" in card
    settings = DecodeConfig(beam=1, max_extra=4)
    for target in ("fr", "de"):
        found = [
            Translator.from_pretrained(folder, settings, "cpu", backend=name, target_lang=target)
            for name in ("torch", "ctranslate2")
        ]
        first, second = ([t[0].tokens for t in one.translate(TEXT, note=lambda _: None)] for one in found)
        assert first == second


def test_marian_export_reads_tag_in_text(folder: Path, french: Translator, tmp_path: Path) -> None:
    export_marian(str(folder), tmp_path / "marian")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "marian")
    for language in ("fr", "de"):
        own = french.with_direction("en", language).encode(TEXT[:3])
        assert [tokenizer(f">>{language}<<{text}")["input_ids"] for text in TEXT[:3]] == own


def test_what_needs_one_direction_refuses_model(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"a package of Argos Translate, .*, is for a model of one direction"):
        export_argos(folder, tmp_path / "x.argosmodel")
    with pytest.raises(InputError, match=r"translates from en to de and .*; train.finetune is for a model of one dir"):
        find_parent(str(folder))


def test_translate_command_takes_to(
    folder: Path, french: Translator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformer.translate import main

    options = ["--beam", "2", "--max-extra", "4", "--compute-type", "float32", "The cat."]
    monkeypatch.setattr(sys, "argv", ["translate", "--model", str(folder), "--to", "fr", *options])
    main()
    assert capsys.readouterr().out == one_line(french(["The cat."])[0]) + "\n"
    monkeypatch.setattr(sys, "argv", ["translate", "--model", str(folder), *options])
    with pytest.raises(InputError, match="Choose one with --to"):
        main()
