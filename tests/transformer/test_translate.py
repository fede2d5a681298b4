"""The command transformer.translate, end to end, on a tiny model with random weights."""

import gzip
import json
import lzma
import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.files import open_output
from evaluate.config import DecodeConfig, SampleConfig
from evaluate.model_folders import read_section
from evaluate.translator import Translator
from tests.tiny_model import TEXT, make_folder
from transformer import translate

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--beam", "2", "--max-extra", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def translator(folder: Path) -> Translator:
    return Translator.from_pretrained(folder, DecodeConfig(beam=2, max_extra=4), "cpu")


def command(folder: Path, *args: str) -> list[str]:
    return [sys.executable, "-m", "transformer.translate", "--model", str(folder), *OPTIONS, *args]


def run_process(
    folder: Path, *args: str, stdin: bytes = b"", lang: str = "C.UTF-8"
) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "LC_ALL": lang, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(folder, *args), input=stdin, capture_output=True, cwd=ROOT, env=env, timeout=120)


def run_here(
    folder: Path, *args: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> bytes:
    """Run the command in this process, which is faster. Return its standard output."""
    monkeypatch.setattr(sys, "argv", ["translate", "--model", str(folder), *OPTIONS, *args])
    with open(1, "w", closefd=False) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        translate.main()
    return capfdbinary.readouterr().out


def test_translate_prints_translations_of_arguments(folder, translator, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    out = run_here(folder, TEXT[0], "", TEXT[1], monkeypatch=monkeypatch, capfdbinary=capfdbinary)
    assert out.decode() == "".join(f"{line}\n" for line in translator([TEXT[0], "", TEXT[1]]))


def test_model_given_twice_is_an_ensemble(folder, translator, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    options = ("--model", str(folder), "--ensemble-mean", "probabilities")
    out = run_here(folder, *options, TEXT[0], monkeypatch=monkeypatch, capfdbinary=capfdbinary)
    assert out.decode() == "".join(f"{line}\n" for line in translator([TEXT[0]]))


def test_mbr_prints_one_of_the_samples(folder, translator, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    options = ("--samples", "5", "--seed", "3", "--mbr", "chrf")
    out = run_here(folder, *options, TEXT[0], monkeypatch=monkeypatch, capfdbinary=capfdbinary).decode()
    (samples,) = translator.sample([TEXT[0]], SampleConfig(num_samples=5, seed=3))
    assert out in [f"{one.text}\n" for one in samples]


def test_reverse_model_chooses_from_the_beam(folder, translator, tmp_path, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    shutil.copytree(folder, tmp_path / "back")
    about = json.loads((folder / "config.json").read_text())
    about |= {"source_lang": "de", "target_lang": "en"}
    (tmp_path / "back/config.json").write_text(json.dumps(about))
    options = ("--reverse", str(tmp_path / "back"), "--reverse-weight", "5", "--n-best", "2")
    out = run_here(folder, *options, TEXT[0], monkeypatch=monkeypatch, capfdbinary=capfdbinary).decode()
    scores = [float(line.split("\t")[1]) for line in out.splitlines()]
    assert 0 < len(scores) <= 2
    assert scores == sorted(scores, reverse=True)


def test_translate_reads_standard_input_as_utf8_in_any_locale(folder: Path, translator: Translator) -> None:
    lines = [TEXT[0], "", "Größe\u2028„zwei“", "  ", TEXT[1]]  # U+2028 ends no line
    done = run_process(folder, stdin="\r\n".join(lines).encode(), lang="C")  # the last line has no line end
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split("\n") == [*translator(lines), ""]


def test_translate_prints_translations_before_input_ends(folder: Path) -> None:
    with subprocess.Popen(
        command(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"one\n")
        assert process.stdout.readline().endswith(b"\n")  # before standard input is closed
        process.stdin.write(b"two")
        process.stdin.close()
        assert len(process.stdout.read().splitlines()) == 1


def test_translate_reports_wrong_byte_after_earlier_lines(folder: Path, translator: Translator) -> None:
    done = run_process(folder, stdin=b"one\ntwo\nthr\xffee\nfour\n")
    assert done.returncode == 2
    assert done.stdout.decode().split("\n") == [*translator(["one", "two"]), ""]
    assert done.stderr.decode().splitlines()[-1] == (
        "error: standard input, line 3: byte 0xff is not UTF-8: convert the file or repair the line"
    )


def test_translate_prints_no_error_if_pipe_is_closed(folder: Path) -> None:
    with subprocess.Popen(
        command(folder, TEXT[0]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_translate_splits_long_line_and_prints_note(  # type: ignore[no-untyped-def]
    folder, translator, tmp_path, monkeypatch, capfdbinary
) -> None:
    target = tmp_path / "out.txt"
    args = ["--output", str(target), "one", "x " * 20 + "y " * 20]
    monkeypatch.setattr(sys, "argv", ["translate", "--model", str(folder), *OPTIONS, *args])
    translate.main()
    one, x, y = translator(["one", " ".join("x" * 10), " ".join("y" * 10)])
    assert target.read_text() == f"{one}\n{x} {x} {y} {y}\n"
    out, err = capfdbinary.readouterr()
    assert out == b""
    note = "note: line 2 is longer than the model's limit of 40 tokens; split and translated in parts\n"
    assert err.decode() == note


def test_translate_prints_lines_before_line_that_is_too_long(folder: Path, translator: Translator) -> None:
    done = run_process(folder, "--json", "--token-scores", stdin=b"one\ntwo\n" + b"x " * 60 + b"\nfour\n")
    assert done.returncode == 2
    assert [json.loads(line)["source"] for line in done.stdout.decode().splitlines()] == ["one", "two"]
    assert done.stderr.decode().splitlines()[-1].startswith("error: line 3 has")


def test_translate_names_line_and_not_segment_that_is_not_utf8(folder, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"line 2 contains .* not UTF-8"):
        run_here(folder, "One. Two. Three.", "x \udcff y", monkeypatch=monkeypatch, capfdbinary=capfdbinary)


def test_translate_notes_sentences_that_are_translated_as_one(folder, tmp_path, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    target = tmp_path / "out.json"
    args = ["--json", "--token-scores", "--output", str(target), "One here. Two here.", "One.", "Ja! Nein!", "42"]
    monkeypatch.setattr(sys, "argv", ["translate", "--model", str(folder), *OPTIONS, *args])
    translate.main()
    note = "note: the sentences of lines 1, 3 were translated as one: --prefix, --token-scores"
    assert capfdbinary.readouterr().err.decode().startswith(note)
    copied = json.loads(target.read_text().splitlines()[-1])["translations"]
    assert copied == [{"text": "42", "score": 0.0, "log_prob": 0.0, "tokens": []}]


def test_documents_option_keeps_lines_and_spaces(  # type: ignore[no-untyped-def]
    folder, translator, monkeypatch, capfdbinary
) -> None:
    lines = ["  The cat sees it.  Dr. Dog buys a book.", "", "One sentence"]
    out = run_here(folder, "--documents", *lines, monkeypatch=monkeypatch, capfdbinary=capfdbinary)
    cat, dog, one = translator(["The cat sees it.", "Dr. Dog buys a book.", "One sentence"])
    assert out.decode() == f"  {cat}  {dog}\n\n{one}\n"


def test_prefix_option_begins_translations(folder, tmp_path, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "prefixes").write_text("Der\n\n")
    args = ["--prefix", str(tmp_path / "prefixes"), *TEXT[:2]]
    out = run_here(folder, *args, monkeypatch=monkeypatch, capfdbinary=capfdbinary).decode().splitlines()
    assert out[0].startswith("Der")
    assert len(out) == 2


def test_samples_option_prints_samples_of_seed(folder, translator, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    args = ["--samples", "2", "--seed", "3", "--top-k", "9", TEXT[0], ""]
    out = run_here(folder, *args, monkeypatch=monkeypatch, capfdbinary=capfdbinary)
    expected = translator.sample([TEXT[0], ""], SampleConfig(num_samples=2, seed=3, top_k=9))
    rows = [line.split("\t", 2) for line in out.decode().removesuffix("\n").split("\n")]
    assert rows == [[str(i), f"{t.score:.4f}", t.text] for i, best in enumerate(expected, 1) for t in best]


def test_json_contains_token_scores_and_attention(  # type: ignore[no-untyped-def]
    folder, monkeypatch, capfdbinary
) -> None:
    args = ["--json", "--token-scores", "--attention", "--n-best", "2", TEXT[0], ""]
    out = run_here(folder, *args, monkeypatch=monkeypatch, capfdbinary=capfdbinary)
    first, empty = (json.loads(line) for line in out.decode().splitlines())
    assert "".join(first["source_tokens"]) == f" {TEXT[0]}"
    for t in first["translations"]:
        assert sum(token["log_prob"] for token in t["tokens"]) == pytest.approx(t["log_prob"], abs=1e-4)
        assert len(t["attention"]) == len(t["tokens"])
        assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in t["attention"])
        assert {len(row) for row in t["attention"]} == {len(first["source_tokens"])}
    assert empty["translations"] == [{"text": "", "score": 0.0, "log_prob": 0.0, "tokens": [], "attention": []}]


def test_json_contains_length_penalty_formula(folder, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    for kind, formula in (("gnmt", "((5 + n) / 6)^alpha"), ("length", "n^alpha"), ("none", "1")):
        args = ["--json", "--length-penalty", kind, "Haus"]
        about = json.loads(run_here(folder, *args, monkeypatch=monkeypatch, capfdbinary=capfdbinary))
        assert (about["alpha"], about["length_penalty"]) == (0.6, formula)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--token-scores", "x"], "need --json"),
        (["--prefix", "p"], "needs sentences or --input"),
        (["--documents", "--attention", "--json", "x"], "without --documents"),
        (["--documents", "--no-split-sentences", "x"], "either --documents or --no-split-sentences"),
        (["--samples", "2", "--n-best", "2", "x"], "either --samples or --n-best"),
        (["--length-penalty", "wu", "x"], "invalid choice: 'wu'"),
        (["--backend", "ctranslate2", "--samples", "2", "x"], "--backend ctranslate2 does not support --samples"),
        (["--input", "f", "x"], "either sentences or --input"),
    ],
)
def test_translate_rejects_options_that_exclude_each_other(folder, args, message, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit, match="2"):
        run_here(folder, *args, monkeypatch=monkeypatch, capfdbinary=capfdbinary)
    assert message in capfdbinary.readouterr().err.decode()


def test_translate_accepts_closed_standard_input(folder, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "stdin", None)  # as if Python was started with `<&-`
    assert run_here(folder, monkeypatch=monkeypatch, capfdbinary=capfdbinary) == b""


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_translate_reads_and_writes_compressed_files(
    folder, translator, tmp_path, ending, monkeypatch, capfdbinary
) -> None:  # type: ignore[no-untyped-def]
    lines = [*TEXT, "", "Haus"]
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[ending]
    unpack = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress}[ending]
    source, target = tmp_path / f"in.txt{ending}", tmp_path / f"out.txt{ending}"
    text = "\n".join(lines) + "\n"
    source.write_bytes(pack(text.encode()))
    out = run_here(
        folder, "--input", str(source), "--output", str(target), monkeypatch=monkeypatch, capfdbinary=capfdbinary
    )
    written = unpack(target.read_bytes())
    assert out == b""
    assert written.decode().split("\n") == [*translator(lines), ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, target.name])


def test_translate_keeps_old_output_file_after_error(folder, tmp_path, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "in.txt").write_text("fine\n" + "x " * 100 + "\n")
    (tmp_path / "out.txt").write_text("old\n")
    args = ["--json", "--token-scores", "--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.txt")]
    with pytest.raises(ValueError, match=r"line 2 has \d+ tokens"):
        run_here(folder, *args, monkeypatch=monkeypatch, capfdbinary=capfdbinary)
    assert (tmp_path / "out.txt").read_text() == "old\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_open_output_writes_to_pipe_directly(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with open_output(tmp_path / "pipe") as out:
        out.write("text\n")
    assert os.read(reader, 100) == b"text\n"
    os.close(reader)


def test_n_best_option_prints_line_number_score_and_text(folder, translator, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    out = run_here(folder, "--n-best", "2", TEXT[0], "", monkeypatch=monkeypatch, capfdbinary=capfdbinary)
    expected = translator.translate([TEXT[0], ""], n_best=2)
    rows = [line.split("\t", 2) for line in out.decode().removesuffix("\n").split("\n")]
    assert rows == [[str(i), f"{t.score:.4f}", t.text] for i, best in enumerate(expected, 1) for t in best]


def test_json_option_prints_object_per_line_with_scores(folder, translator, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    lines = [TEXT[3], "", "Größe"]
    out = run_here(folder, "--json", "--n-best", "2", *lines, monkeypatch=monkeypatch, capfdbinary=capfdbinary)
    objects = [json.loads(line) for line in out.decode().removesuffix("\n").split("\n")]
    assert [o["source"] for o in objects] == lines
    for found, best in zip(objects, translator.translate(lines, n_best=2), strict=True):
        assert found["translations"] == [{"text": t.text, "score": t.score, "log_prob": t.log_prob} for t in best]


def test_translate_uses_decode_settings_of_config_yaml(folder, tmp_path, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    run = make_folder(tmp_path / "run")
    # Training settings of another version are ignored.
    (run / "config.yaml").write_text("train: {of_another_version: 1}\ndecode: {alpha: 0.0, max_extra: 3}\nnew: 2\n")
    monkeypatch.setattr(sys, "argv", ["translate", "--model", str(run), "--beam", "2", "--json", "Haus"])
    with open(1, "w", closefd=False) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        translate.main()
    best = json.loads(capfdbinary.readouterr().out)["translations"][0]
    assert best["score"] == best["log_prob"]  # alpha 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--n-best", "3", "x"], r"n_best \(--n-best\) is 3; it must be from 1 to the beam, which is 2"),
        (["--alpha", "-1", "x"], "decode.alpha is -1.0"),
        (["--seed", "2", "x"], r"--seed is for sampling\. Give --samples too"),
        (["--samples", "0", "x"], "num_samples is 0"),
        (["--min-length", "50", "x"], r"decode\.min_length is 50; outputs have at most 40 tokens"),
        (["--input", "nowhere.txt"], "there is no file nowhere.txt"),
        (["--output", "nowhere/out.txt", "x"], "there is no folder"),
    ],
)
def test_translate_rejects_invalid_arguments(folder, args, message, monkeypatch, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ValueError, OSError), match=message):
        run_here(folder, *args, monkeypatch=monkeypatch, capfdbinary=capfdbinary)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("decode: {beem: 2}", r"config\.yaml, line 1: there is no setting 'decode\.beem'"),
        ("decode: {beam: x}", r"config\.yaml, line 1: decode\.beam is 'x'; it must be an integer"),
        ("decode: [2]", r"config\.yaml, line 1: decode is a section, not a setting"),
        ("decode: {", r"config\.yaml, line 1: this is not valid YAML"),
        ("decode: {beam: '${oc.env:HOME}'}", r"decode\.beam=\$\{oc\.env:HOME\} is a reference"),
    ],
)
def test_read_section_rejects_invalid_settings(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_section(DecodeConfig, tmp_path, "decode")
    assert "\n" not in str(caught.value)


def test_prompt_continues_after_error_and_ends_with_ctrl_d(folder: Path, translator: Translator) -> None:
    person, terminal = pty.openpty()
    with subprocess.Popen(
        command(folder, "--json", "--token-scores"),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        os.close(terminal)
        os.write(person, b"Haus\n" + b"x " * 60 + b"\nBuch\n")
        time.sleep(0.1)
        os.write(person, b"\x04")
        out, err = process.communicate(timeout=120)
    os.close(person)
    assert process.returncode == 0
    texts = [json.loads(line)["translations"][0]["text"] for line in out.decode().splitlines()]
    assert texts == translator(["Haus", "Buch"])
    assert err.decode().count("> ") == 4
    assert "error: line 2 has" in err.decode()
