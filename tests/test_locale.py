"""The whole path in an old locale: all commands write the same bytes as in a UTF-8 locale, also in names of files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cases import ROOT, run_here

WORDS = ("Straße", "Äpfel", "Bäume", "字", "Füße", "Öfen")
DATA = (
    "'data.train=[straße [字]/größe.en,straße [字]/größe.de]' 'data.cache_dir=caché 字' data.vocab_size=310 "
    "data.valid_pairs=2"
)
MODEL = "model.d_model=8 model.n_layers=1 model.n_heads=2 model.d_ff=8"
TRAINING = (
    "batches.tokens_per_update=300 batches.per_update=1 train.max_steps=20 train.threads=1 train.log_with=none "
    "validation.bleu_sentences=0 checkpoints.average_last=1"
)
COMMANDS = (
    f"data_pipeline/prepare.py {DATA}",
    f"train/train.py {DATA} {MODEL} {TRAINING} 'run_dir=läufe/字'",
    "transformer/translate.py --model läufe/字 --max-extra 5 --output über.字 'Der Käse 字.' 'Füße: “ß”'",
    "transformer/translate.py --model läufe/字 --max-extra 5 --input 'straße [字]/größe.en'",
    "evaluate/bleu.py --hypotheses 'straße [字]/größe.de' --reference 'straße [字]/größe.de' --output maß",
    "evaluate/bleu.py --hypotheses fehlt_ß --reference 'straße [字]/größe.de'",
)
SCRIPT = """
import runpy, shlex, sys
commands = sys.argv[2:]
sys.path.insert(0, sys.argv[1])
for command in commands:
    sys.argv = shlex.split(command)
    try:
        runpy.run_module(sys.argv[0].removesuffix(".py").replace("/", "."), run_name="__main__")
    except SystemExit as end:
        print("status", end.code, flush=True)
"""
LOCALE = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def write_corpus(folder: Path) -> None:
    corpus = folder / "straße [字]"
    corpus.mkdir(parents=True)
    pairs = [(f"I see {word} {n}.", f"Ich sehe {word} {n}.") for n in range(10) for word in WORDS]
    for language, lines in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (corpus / f"größe.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of the files whose bytes do not depend on time."""
    names = [
        "über.字",
        "maß/straße_字_größe.de.hyp",
        "läufe/字/config.yaml",
        "läufe/字/model.safetensors",
        "läufe/字/tokenizer.model",
    ]
    return {name: (folder / name).read_bytes() for name in names}


def test_commands_write_same_bytes_in_old_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("old", "new"):
        write_corpus(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT), *COMMANDS],
        cwd=tmp_path / "old",
        env={**os.environ, **LOCALE, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    monkeypatch.chdir(tmp_path / "new")
    results = [run_here(command, None, monkeypatch, capfd) for command in COMMANDS]
    assert [result.status for result in results] == [0, 0, 0, 0, 0, 2], results
    printed = done.stdout.decode()
    assert results[3].stdout in printed, done.stderr.decode()
    assert "status 2" in printed
    assert "fehlt_ß" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert files(tmp_path / "old") == files(tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "old").iterdir()) == sorted(
        path.name for path in (tmp_path / "new").iterdir() if path.name != "stdin"
    )
