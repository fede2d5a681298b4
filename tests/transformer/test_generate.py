"""The command transformer.generate, end to end, on a tiny model with random weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evaluate.config import SampleConfig
from evaluate.generator import Generator
from tests import tiny_model
from tests.tiny_gpt import TEXT, make_folder
from transformer import generate, translate

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"--max-tokens": "12", "--top-k": "20", "--seed": "5"}
CONFIG = SampleConfig(max_tokens=12, top_k=20, seed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def generator(folder: Path) -> Generator:
    return Generator.from_pretrained(folder, "cpu")


def options(*args: str) -> list[str]:
    """Return `args` after the options of `OPTIONS` that they do not give."""
    return [word for name, value in OPTIONS.items() if name not in args for word in (name, value)] + list(args)


def command(folder: Path, *args: str) -> list[str]:
    return [sys.executable, "-m", "transformer.generate", "--model", str(folder), *options(*args)]


@pytest.fixture
def run_here(folder, monkeypatch, capfdbinary):  # type: ignore[no-untyped-def]
    """Return a function that runs the command in this process and returns its standard output and standard error."""

    def run(*args: str, model: Path = folder) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["generate", "--model", str(model), *options(*args)])
        with open(1, "w", closefd=False) as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            generate.main()
        written = capfdbinary.readouterr()
        return written.out.decode(), written.err.decode()

    return run


def test_generate_prints_prompt_and_continuation(run_here, generator) -> None:  # type: ignore[no-untyped-def]
    out, err = run_here("--prompt", "The cat")
    assert out == "The cat" + generator.generate(["The cat"], CONFIG)[0][0] + "\n"
    assert err == ""


def test_generate_separates_texts_by_line(run_here, generator) -> None:  # type: ignore[no-untyped-def]
    out, _ = run_here("--prompt", "The cat", "--prompt", "Hund", "--num-samples", "2")
    (one, two), (three, four) = generator.generate(
        ["The cat", "Hund"], SampleConfig(max_tokens=12, top_k=20, seed=5, num_samples=2)
    )
    assert out == f"The cat{one}\n---\nThe cat{two}\n---\nHund{three}\n---\nHund{four}\n"


def test_generate_without_prompt_prints_sample_only(run_here, generator) -> None:  # type: ignore[no-untyped-def]
    out, _ = run_here()
    assert out == generator.generate([None], CONFIG)[0][0] + "\n"


def test_prompt_file_is_single_prompt(run_here, generator, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbf" + "Bücher\nsees\n".encode())
    out, _ = run_here("--prompt-file", str(tmp_path / "prompt.txt"))
    assert out == "Bücher\nsees\n" + generator.generate(["Bücher\nsees\n"], CONFIG)[0][0] + "\n"


def test_json_option_prints_object_per_prompt(run_here, generator) -> None:  # type: ignore[no-untyped-def]
    out, _ = run_here("--json", "--prompt", "The", "--prompt", "„zwei“", "--num-samples", "2")
    prompts = ["The", "„zwei“"]
    expected = generator.generate(prompts, SampleConfig(max_tokens=12, top_k=20, seed=5, num_samples=2))
    objects = [json.loads(line) for line in out.splitlines()]
    assert objects == [{"prompt": prompt, "samples": texts} for prompt, texts in zip(prompts, expected, strict=True)]
    assert "„zwei“" in out
    assert json.loads(run_here("--json")[0])["prompt"] is None


@pytest.mark.parametrize("more", [(), ("--num-samples", "2")])
def test_generate_notes_long_text_once_on_standard_error(run_here, more) -> None:  # type: ignore[no-untyped-def]
    out, err = run_here("--prompt", "The", "--max-tokens", "80", *more)
    assert "note:" not in out
    assert err.count("note:") == err.count("\n") == 1
    assert err.startswith("note: the text became longer than the model's context of 32 tokens")


def test_generate_prints_utf8_in_any_locale(folder: Path, generator: Generator) -> None:
    env = {**os.environ, "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(folder, "--prompt", "„zwei“"), capture_output=True, cwd=ROOT, env=env, timeout=120, check=True
    )
    assert done.stdout.decode() == "„zwei“" + generator.generate(["„zwei“"], CONFIG)[0][0] + "\n"
    assert done.stderr == b""


def test_generate_ends_if_pipe_is_closed(folder: Path) -> None:
    with subprocess.Popen(
        command(folder, "--prompt", "The", "--max-tokens", "100000000"),  # longer than the test
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5)[:3] == b"The"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--temperature", "-1"], r"temperature is -1\.0; it must be 0 \(greedy\) or more"),
        (["--temperature", "nan"], r"temperature is nan"),
        (["--top-k", "0"], r"top_k is 0; it must be at least 1\. Omit it"),
        (["--top-p", "0"], r"top_p is 0\.0; it must be above 0 and at most 1\. Omit it"),
        (["--top-p", "1.5"], r"top_p is 1\.5"),
        (["--num-samples", "0"], r"num_samples is 0; it must be at least 1"),
        (["--max-tokens", "0"], r"max_tokens is 0; it must be at least 1"),
        (["--prompt", ""], r"prompt 1 is empty\. Omit it"),
        (["--prompt", "The", "--prompt", ""], "prompt 2 is empty"),
        (["--prompt", TEXT], r"prompt 1 has \d+ tokens; the model supports 32\. Shorten it"),
        (["--prompt", "The dog?"], r"the text contains '\?' \(U\+003F\)"),
        (["--prompt-file", "nowhere.txt"], r"there is no file nowhere\.txt"),
    ],
)
def test_generate_rejects_invalid_arguments(run_here, args, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ValueError, OSError), match=message) as caught:
        run_here(*args)
    assert "\n" not in str(caught.value)


def test_prompt_file_rejects_wrong_byte_and_empty_file(run_here, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "prompt.txt").write_bytes(b"The\ncat\nB\xfccher\n")
    with pytest.raises(ValueError, match=r"prompt\.txt, line 3: byte 0xfc is not UTF-8: convert"):
        run_here("--prompt-file", str(tmp_path / "prompt.txt"))
    (tmp_path / "prompt.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"prompt\.txt is empty\. Omit it"):
        run_here("--prompt-file", str(tmp_path / "prompt.txt"))


def test_generate_rejects_prompt_with_prompt_file(run_here) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit, match="2"):
        run_here("--prompt", "The", "--prompt-file", "prompt.txt")


def test_generate_has_empty_output_if_prompt_is_rejected(run_here, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="the text contains"):
        run_here("--prompt", "The?")
    assert capfdbinary.readouterr().out == b""


def test_generate_and_translate_reject_models_of_other_task(run_here, folder, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pairs = tiny_model.make_folder(tmp_path / "pairs")
    with pytest.raises(ValueError, match=r"pairs contains a translation model\. Use transformer\.translate"):
        run_here(model=pairs)
    monkeypatch.setattr(sys, "argv", ["translate", "--model", str(folder), "The cat."])
    with open(1, "w", closefd=False) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(ValueError, match=r"cannot translate\. Use transformer\.generate"):
            translate.main()


def test_generate_fails_if_folder_is_missing(run_here, tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FileNotFoundError, match="there is no model folder"):
        run_here(model=tmp_path / "none")


def test_generate_help_describes_start_without_prompt(run_here, capfdbinary) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit, match="0"):
        run_here("--help")
    said = " ".join(capfdbinary.readouterr().out.decode().split())
    assert "Without --prompt and --prompt-file the model starts a new document" in said
    assert "(default: 500)" in said
