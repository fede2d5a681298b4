"""The tokenizer of BLEU by language and script, and scores equal to those of sacreBLEU's command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers import tokenizer_spm

from common.errors import InputError
from evaluate.metrics import bleu_tokenizer
from evaluate.metrics.bleu_tokenizer import TOKENIZERS, choose_tokenizer, is_installed, open_bleu
from evaluate.metrics.corpus_metrics import score_text
from tests.evaluate.texts import write_lines

TEXTS = {
    "zh": (["我每天早上喝茶。", "火车晚点了两个小时。"], ["我每天早上都喝茶。", "火车晚点两小时。"]),
    "ja": (["毎朝お茶を飲みます。", "電車が二時間遅れました。"], ["私は毎朝お茶を飲みます。", "電車は二時間遅れた。"]),
    "ko": (
        ["나는 매일 아침 차를 마신다.", "기차가 두 시간 늦었다."],
        ["나는 아침마다 차를 마신다.", "기차가 두 시간 늦었습니다."],
    ),
    "th": (["ฉันดื่มชาทุกเช้า", "รถไฟมาสายสองชั่วโมง"], ["ฉันดื่มชาทุกๆเช้า", "รถไฟล่าช้าสองชั่วโมง"]),
}
"""Translation and reference by language."""


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [("zh", "zh"), ("ja", "ja-mecab"), ("ja", "char"), ("ko", "ko-mecab"), ("ko", "char"), ("th", "char")],
)
def test_bleu_of_language_equals_sacrebleu_command_line(language: str, tokenizer: str, tmp_path: Path) -> None:
    if not is_installed(tokenizer):
        pytest.skip(f"{tokenizer} needs the extra `mecab`")
    hypotheses, reference = TEXTS[language]
    files = [write_lines(tmp_path / name, lines) for name, lines in (("ref", reference), ("hyp", hypotheses))]
    command = [
        sys.executable,
        "-m",
        "sacrebleu",
        files[0],
        "-i",
        files[1],
        "-tok",
        tokenizer,
        "--confidence",
        "-w",
        "9",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = json.loads(done.stdout)
    found = score_text("BLEU", open_bleu(tokenizer), hypotheses, [reference])
    assert (found.score, found.mean) == pytest.approx((expected["score"], expected["confidence_mean"]), abs=1e-8)
    assert found.signature == expected["signature"]
    assert found.score > 10


@pytest.mark.parametrize(
    ("language", "of_text", "tokenizer", "note"),
    [
        ("de", "Das Haus.", "13a", None),
        (None, "Das Haus.", "13a", None),
        (None, "42", "13a", None),
        ("zh-TW", "天氣", "zh", None),
        ("yue", "天氣", "zh", None),
        ("jpn_Jpan", "天気です", "ja-mecab", None),
        ("ko", "날씨가 좋다", "ko-mecab", None),
        ("th", "อากาศดี", "char", "no tokenizer for th"),
        ("km", "អាកាស", "char", "no tokenizer for km"),
        (None, "天气很好", "zh", "target language is not known, but the reference is mostly in Chinese characters"),
        ("de", "天气很好", "zh", "the target language is de"),
        (None, "天気がいい", "ja-mecab", "tokenizer ja-mecab"),
        (None, "날씨가 좋다", "ko-mecab", "Hangul script"),
        ("", "อากาศดี", "char", "Thai script"),
    ],
)
def test_choose_tokenizer_depends_on_language_then_on_script(
    language: str | None, of_text: str, tokenizer: str, note: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bleu_tokenizer, "is_installed", lambda _: True)
    monkeypatch.setattr(bleu_tokenizer, "open_bleu", lambda _: None)
    found = choose_tokenizer(None, language, [[of_text]])
    assert found.name == tokenizer
    assert note in (found.note or "") if note else found.note is None


@pytest.mark.parametrize("language", ["ja", "ko"])
def test_choose_tokenizer_counts_characters_without_mecab(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bleu_tokenizer, "is_installed", lambda name: "mecab" not in name)
    found = choose_tokenizer(None, language, [TEXTS[language][1]])
    assert found.name == "char"
    assert f'pip install "sacrebleu[{language}]"' in (found.note or "")
    with pytest.raises(InputError, match=f"--tokenize {language}-mecab needs MeCab"):
        choose_tokenizer(f"{language}-mecab", None, [["x"]])


def test_open_bleu_rejects_spm_model_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, path: str) -> None:
        raise OSError(f"no network for {url} {path}")

    monkeypatch.setattr(tokenizer_spm, "download_file", fail)
    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    with pytest.raises(InputError, match=r"--tokenize flores200 .*no network.* or save https://.* as .*models"):
        choose_tokenizer("flores200", "de", [["x"]])


def test_open_bleu_of_spm_model_is_spbleu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of the demo's size stands for sacreBLEU's, which the tests do not download."""
    from tests.tiny_model import make_folder

    (tmp_path / "models").mkdir()
    model = make_folder(tmp_path / "model") / "tokenizer.model"
    (tmp_path / "models" / "flores200sacrebleuspm").write_bytes(model.read_bytes())
    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    found = score_text("spBLEU", open_bleu("flores200"), ["the house"], [["the houses"]])
    assert "tok:flores200" in found.signature


def test_tokenizers_are_sacrebleus() -> None:
    assert set(TOKENIZERS) <= set(BLEU.TOKENIZERS)
