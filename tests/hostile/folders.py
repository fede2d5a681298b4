"""Model folders and run folders from somebody else."""

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.runner import Input

Change = Callable[[Path], None]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def copied(kind: str, change: Change) -> Change:
    """Return a maker that copies the model or the run of the base to `it`, and changes it."""

    def make(work: Path) -> None:
        shutil.copytree(work.parent.parent / "base" / kind, work / "it")
        change(work / "it")

    return make


def about(**changes: Any) -> Change:
    """Change fields of config.json; `model__x` is the field x of its model."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        for name, value in changes.items():
            section, _, field = name.rpartition("__")
            (content[section] if section else content)[field] = value
        (folder / "config.json").write_text(json.dumps(content))

    return change


def without(*names: str) -> Change:
    """Delete fields of config.json."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({k: v for k, v in content.items() if k not in names}))

    return change


def text(name: str, content: str | bytes) -> Change:
    """Write a file."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).unlink(missing_ok=True) or ((folder / name).write_bytes(raw) and None)


def linked(name: str, to: str) -> Change:
    """Replace a file or folder by a link to a place in the user's home folder, or to an absolute path."""

    def change(folder: Path) -> None:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.move(path, folder.parent.parent / "moved")
        path.unlink(missing_ok=True)
        path.symlink_to(to if to.startswith("/") else folder.parent.parent / "home" / to)

    return change


def sparse(name: str) -> Change:
    """Replace a file by one of 20 GB that takes no disk."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        with (folder / name).open("wb") as file:
            file.truncate(20 * 10**9)

    return change


def fifo(name: str) -> Change:
    """Replace a file by a named pipe, which blocks whoever reads it."""
    return lambda folder: (folder / name).unlink(missing_ok=True) or os.mkfifo(folder / name)


def yaml(old: str, new: str) -> Change:
    """Replace text in config.yaml."""

    def change(folder: Path) -> None:
        content = (folder / "config.yaml").read_text()
        assert old in content
        (folder / "config.yaml").write_text(content.replace(old, new, 1))

    return change


def tensors(edit: Callable[[dict[str, Any]], object]) -> Change:
    """Change the header of model.safetensors."""

    def change(folder: Path) -> None:
        file = folder / "model.safetensors"
        data = file.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + size])
        edit(header)
        raw = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(raw)) + raw + data[8 + size :])

    return change


def each(key: str, value: Any) -> Change:
    """Set a key of all tensors in the header of model.safetensors."""
    return tensors(lambda header: [entry.update({key: value}) for name, entry in header.items() if name[0] != "_"])


def sealed(**files: str | bytes) -> Change:
    """Write files of the checkpoint (`_` for the dot) and a manifest with their checksums."""

    def change(folder: Path) -> None:
        checkpoint = folder / "checkpoints/regular-00000001"
        for name, content in files.items():
            (checkpoint / name.replace("_", ".")).write_bytes(content.encode() if isinstance(content, str) else content)
        sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(checkpoint.iterdir())}
        del sums["manifest.json"]
        _write_manifest(checkpoint, {"step": 1, "files": sums})

    return change


def manifest(content: Any) -> Change:
    """Write a manifest with this content and the right seal."""
    return lambda folder: _write_manifest(folder / "checkpoints/regular-00000001", content)


def _write_manifest(checkpoint: Path, content: Any) -> None:
    seal = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    (checkpoint / "manifest.json").write_text(json.dumps({**content, "seal": seal}, indent=2) + "\n")


MODELS: dict[str, Change] = {
    "config is a number": text("config.json", "1"),
    "config is a list": text("config.json", "[]"),
    "config is empty": text("config.json", ""),
    "config is deep": text("config.json", "[" * 100_000),
    "config is deep objects": text("config.json", '{"a":' * 100_000),
    "config has long digits": text("config.json", "9" * 100_000),
    "config is not UTF-8": text("config.json", b'{"format_version": 1, "x": "\xff"}'),
    "config has a byte-order mark": text("config.json", b"\xff\xfe{\x00}\x00"),
    "config is huge": sparse("config.json"),
    "weights are huge": sparse("model.safetensors"),
    "tokenizer is huge": sparse("tokenizer.model"),
    "config is a pipe": fifo("config.json"),
    "config is a device": linked("config.json", "/dev/zero"),
    "config is a folder": lambda folder: (folder / "config.json").unlink() or (folder / "config.json").mkdir(),
    "weights are a pipe": fifo("model.safetensors"),
    "weights are a device": linked("model.safetensors", "/dev/zero"),
    "weights are empty": text("model.safetensors", ""),
    "weights are text": text("model.safetensors", "hello " * 1000),
    "weights have a huge header": text("model.safetensors", struct.pack("<Q", 2**60) + b"{}"),
    "weights have a deep header": text("model.safetensors", struct.pack("<Q", 100_000) + b"[" * 100_000),
    "weights are integers": each("dtype", "I32"),
    "weights are booleans": each("dtype", "BOOL"),
    "weights have a negative shape": each("shape", [-1]),
    "weights have no shape": each("shape", []),
    "weights have a huge shape": each("shape", [2**62, 2**62]),
    "weights have other offsets": each("data_offsets", [0, 2**60]),
    "weights are pickled": text("model.safetensors", b"\x80\x04\x95cos\nsystem\n"),
    "weights lack a tensor": tensors(lambda header: header.pop(sorted(header)[-1])),
    "weights have control characters": tensors(lambda header: header.update({"\x1b[31m": header.popitem()[1]})),
    "tokenizer is text": text("tokenizer.model", "hello"),
    "tokenizer is empty": text("tokenizer.model", ""),
    "tokenizer is JSON": text("tokenizer.model", "{}"),
    "tokenizer is deep JSON": text("tokenizer.model", '{"a":' * 100_000),
    "tokenizer is a pipe": fifo("tokenizer.model"),
    "tokenizer is a device": linked("tokenizer.model", "/dev/zero"),
    "tokenizer is a list of characters": text("tokenizer.model", '{"type": "characters", "characters": "ab"}'),
    "tokenizer begins as one": text("tokenizer.model", b"\n" + b"\xff" * 1000),
    "beam of a billion": about(decode={"beam": 10**9}),
    "beam is a list": about(decode={"beam": [4]}),
    "beam is true": about(decode={"beam": True}),
    "alpha is huge": about(decode={"alpha": 1e300}),
    "alpha is NaN": about(decode={"alpha": float("nan")}),
    "decode is a list": about(decode=[1]),
    "decode is text": about(decode="beam"),
    "decode is deep": about(decode={"beam": json.loads("[" * 500 + "]" * 500)}),
    "decode reads the environment": about(decode={"length_penalty": "${oc.env:SECRET_TOKEN}"}),
    "decode has an unknown name": about(decode={"__class__": 1}),
    "decode has control characters": about(decode={"\x1b[31m": 1}),
    "max_len of 10 million": about(model__max_len=10_000_000),
    "max_len is negative": about(model__max_len=-1),
    "max_len is text": about(model__max_len="long"),
    "d_model is huge": about(model__d_model=2**40),
    "n_layers is huge": about(model__n_layers=10**9),
    "dropout is NaN": about(model__dropout=float("nan")),
    "norm is a list": about(model__norm=["post"]),
    "architecture is unknown": about(model__architecture="\x1b[31mbert"),
    "vocabulary is larger": about(model__vocab_size=2**31),
    "model is a list": about(model=[]),
    "model has an unknown field": about(model__x=1),
    "format of tomorrow": about(format_version="1; rm -rf"),
    "language has a line break": about(source_lang="en\nlicense: mit"),
    "language is a list": about(source_lang=["en"]),
    "language is missing": without("target_lang"),
    "directions are a number": about(directions=7),
    "direction has control characters": about(directions=["en-\x1b[31mde"]),
    "directions without tags": about(format_version=2, directions=["en-de"]),
    "tags without directions": about(format_version=2),
    "no model": without("model"),
    "no version": without("format_version"),
}
RUNS: dict[str, Change] = {
    "config.yaml is deep": text("config.yaml", "decode: " + "{a: " * 3000 + "1" + "}" * 3000),
    "config.yaml is deep lists": text("config.yaml", "data: {train: " + "[" * 3000 + "]" * 3000 + "}"),
    "config.yaml has aliases": text("config.yaml", BOMB),
    "config.yaml has objects": text("config.yaml", "data: !!python/object/apply:os.system ['touch ../home/x']\n"),
    "config.yaml is a list": text("config.yaml", "- a\n"),
    "config.yaml is text": text("config.yaml", "hello"),
    "config.yaml is empty": text("config.yaml", ""),
    "config.yaml is huge": sparse("config.yaml"),
    "tokenizer is huge": sparse("tokenizer.model"),
    "metrics are huge": sparse("metrics.jsonl"),
    "comparison is huge": sparse("paper_comparison.md"),
    "manifest is huge": sparse("checkpoints/regular-00000001/manifest.json"),
    "config.yaml has tabs": text("config.yaml", "data:\n\ttrain: x\n"),
    "config.yaml is not UTF-8": text("config.yaml", b"data: {train: \xff}"),
    "config.yaml is binary": text("config.yaml", bytes(range(256)) * 10),
    "config.yaml is a pipe": fifo("config.yaml"),
    "config.yaml is a device": linked("config.yaml", "/dev/zero"),
    "config.yaml has a name twice": yaml("beam: 4", "beam: 4\n  beam: 5"),
    "config.yaml reads the environment": yaml("source_lang: en", "source_lang: ${oc.env:SECRET_TOKEN}"),
    "config.yaml has another reference": yaml("source_lang: en", "source_lang: ${data.target_lang}"),
    "config.yaml has a hidden reference": yaml("source_lang: en", 'source_lang: "\\x24{oc.env:SECRET_TOKEN}"'),
    "config.yaml lacks a value": yaml("source_lang: en", "source_lang: ???"),
    "config.yaml has a line break": yaml("source_lang: en", 'source_lang: "en\\nlicense: mit\\ntags: [x]"'),
    "config.yaml has a backtick": yaml("source_lang: en", "source_lang: 'e`n'"),
    "config.yaml has a wide model": yaml("d_model: 16", "d_model: 65536"),
    "config.yaml has a deep model": yaml("n_layers: 1", "n_layers: 1000000000"),
    "config.yaml has another width": yaml("d_model: 16", "d_model: 32"),
    "config.yaml has long digits": yaml("d_model: 16", "d_model: " + "9" * 100_000),
    "config.yaml has NaN": yaml("dropout: 0.1", "dropout: .nan"),
    "config.yaml averages a billion": yaml("average_last: 5", "average_last: 1000000000"),
    "config.yaml averages -1": yaml("average_last: 5", "average_last: -1"),
    "manifest is a list": text("checkpoints/regular-00000001/manifest.json", "[]"),
    "manifest lists files as a list": manifest({"step": 1, "files": []}),
    "manifest lists no files": manifest({"step": 1, "files": {}}),
    "manifest lists a file of the user": manifest({"step": 1, "files": {"../../../../home/.ssh/id": "0"}}),
    "manifest is deep": text("checkpoints/regular-00000001/manifest.json", "[" * 100_000),
    "manifest is a pipe": fifo("checkpoints/regular-00000001/manifest.json"),
    "manifest is a device": linked("checkpoints/regular-00000001/manifest.json", "/dev/zero"),
    "manifest has another step": manifest({"step": 2, "files": {}}),
    "manifest has a step of text": manifest({"step": "1", "files": {}}),
    "state is a list": sealed(progress_json="[]"),
    "state is deep": sealed(progress_json="[" * 100_000),
    "state has a step of text": sealed(progress_json='{"step": "1"}'),
    "state has another name": sealed(progress_json='{"step": 1, "x": 1}'),
    "checkpoint has no tensors": sealed(model_safetensors="hello"),
    "checkpoint has an empty header": sealed(model_safetensors=struct.pack("<Q", 2) + b"{}"),
    "checkpoints are a link": linked("checkpoints", "."),
    "a checkpoint is a link": linked("checkpoints/regular-00000001", ".ssh"),
    "tokenizer is a link": linked("tokenizer.model", ".ssh/id"),
    "card is a link": linked("README.md", "victim"),
    "comparison is a link": linked("paper_comparison.md", ".ssh/id"),
    "metrics are a link": linked("metrics.jsonl", "victim"),
    "lock is a link": linked(".lock", "victim"),
    "lock is a link to nothing": linked(".lock", "new"),
    "corpus has a line break": yaml("  - a.en", '  - "a`\\n---\\nlicense: mit"'),
    "tokenizer is other text": text("tokenizer.model", "echo from somebody else\n"),
}
RIGHT_RUNS: dict[str, Change] = {
    **{
        f"{name} is a link": linked(name, "victim")
        for name in (".tokenizer.model.tmp", ".README.md.tmp", ".config.json.tmp", ".model.safetensors.tmp")
    },
    "temporary file is a pipe": fifo(".config.json.tmp"),
    "metrics are damaged": text("metrics.jsonl", '{"step": 1, "valid_l'),
    "metrics are a list": text("metrics.jsonl", "[1]\n"),
    "comparison is not UTF-8": text("paper_comparison.md", b"\xff"),
    "metrics are not UTF-8": text("metrics.jsonl", b"\xff\n"),
    "metrics are deep": text("metrics.jsonl", "[" * 100_000),
    "metrics contain Markdown": text("metrics.jsonl", '{"step": 1, "valid_loss": "1\\n---\\nlicense: x"}\n'),
    "an unknown link": linked("data", "."),
}
REPORTED: dict[str, Change] = {
    "config.yaml has objects": RUNS["config.yaml has objects"],
    "corpus has a script": yaml("  - a.en", "  - <script>alert(1)</script>"),
    "updates are many": yaml("max_steps: 100000", "max_steps: 1000000000"),
    "numbers are large": text("metrics.jsonl", f'{{"step": 1, "loss": {"9" * 400}}}\n{{"step": {"9" * 400}}}\n'),
    "times are large": text("timing.jsonl", '{"step": 1000000000000, "seconds_per_update": 1e99}\n'),
    "samples are deep": text("samples.jsonl", "[" * 100_000),
    "samples are huge": sparse("samples.jsonl"),
    "samples are a link": linked("samples.jsonl", ".ssh/id"),
    "data report is a pipe": fifo("data_report.json"),
    "data report is a list": text("data_report.json", "[]"),
    "report is a link": linked("report.html", "victim"),
    "report is a link that is hidden": linked(".report.html.tmp", "victim"),
}
FAILED: dict[str, Change] = {
    "report is a list": text("failed_update.json", "[]"),
    "report is empty": text("failed_update.json", "{}"),
    "report is deep": text("failed_update.json", "[" * 100_000),
    "report lacks its micro-batches": text("failed_update.json", '{"step": 1, "loss": 1, "gradient_norm": 1}'),
    "report is a pipe": fifo("failed_update.json"),
    "report is a link": linked("failed_update.json", "victim"),
}

FOLDERS = [
    *(
        Input(f"model: {name}", "transformer/translate.py --model it 'The cat.'", copied("model", change))
        for name, change in MODELS.items()
    ),
    *(Input(f"run: {name}", "train/average.py it", copied("run", change)) for name, change in RUNS.items()),
    *(Input(f"run: {name}", "train/average.py it", copied("run", c), end="right") for name, c in RIGHT_RUNS.items()),
    *(
        Input(f"report: {name}", "train/report.py it", copied("run", change), end="either")
        for name, change in REPORTED.items()
    ),
    *(Input(f"failed update: {name}", "train/replay.py it", copied("run", c)) for name, c in FAILED.items()),
    Input(
        "old model folder reads the environment",
        "transformer/translate.py --model it x",
        copied("model", text("config.yaml", "decode: {length_penalty: '${oc.env:SECRET_TOKEN}'}")),
    ),
    Input(
        "old model folder has deep settings",
        "transformer/translate.py --model it x",
        copied("model", text("config.yaml", "decode: " + "{a: " * 3000 + "1" + "}" * 3000)),
    ),
    Input(
        "resumed run has a link",
        "train/train.py --config it/config.yaml run_dir=it data.cache_dir=cache",
        copied("run", linked("config.json", "victim")),
    ),
    Input("average --last huge", f"train/average.py it --last {10**12}", copied("run", lambda folder: None)),
    Input("model folder with an escape", "transformer/translate.py --model '\x1b[31m/x\n' 'The cat.'"),
    Input("evaluation folder is a link", "evaluate/bleu.py --model it", copied("run", linked("eval", "."))),
    Input("generate with a translation model", "transformer/generate.py --model {base}/model"),
    Input("translate with a language model", "transformer/translate.py --model {base}/gpt x"),
    Input("convert a model folder", "transformer/convert.py --from gpt2 {base}/model out"),
]
