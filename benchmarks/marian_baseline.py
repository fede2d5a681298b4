"""Train `MarianMTModel` of transformers in a plain loop on the data of a config, and translate a test set with it.

    python -m benchmarks.marian_baseline --config configs/included.yaml --test test.en test.de --name included_en_de
    python -m benchmarks.marian_baseline --smoke-test

It has the shape of the config's model, the same vocabulary, pairs and updates (without BPE-dropout and augmentation),
Adam, label smoothing of 0.1 and the schedule of the config with half the peak: with layer norm after the residual, as
Marian has it, the whole one is too high. --device cuda trains on a GPU. The weights are those after the last update.
Writes benchmarks/results/marian_<name>.json and the translations beside --hypotheses.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import sacrebleu
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import MarianMTModel

from benchmarks.programs.marian import make_config
from benchmarks.run_folders import write_corpus
from benchmarks.runner import Tables, command_line, new_result, save, say, table, temporary_folder
from common.command import run_command
from common.settings import load_settings
from common.text_input import read_all_lines
from data_pipeline.config import AUGMENTATIONS
from data_pipeline.examples import IGNORE
from data_pipeline.prepared_data import prepare
from data_pipeline.tokenizers.sentence_piece import PAD_ID, Tokenizer
from evaluate.length_batches import pad
from train.config import RunConfig
from train.schedule import learning_rate
from train.setup import Setup, make_setup

SMOOTHING, BEAM, SENTENCES = 0.1, 4, 64
PEAK = 0.5
"""Peak of the learning rate as a multiple of the config's."""
SMOKE_TEST = (
    *("model.d_model=32", "model.n_layers=2", "model.n_decoder_layers=1", "model.n_heads=2", "model.d_ff=64"),
    *("data.vocab_size=400", "data.max_length=64", "batches.tokens_per_update=1024", "batches.buckets=8"),
    *("batches.per_update=1", "train.max_steps=8", "schedule.name=wsd", "schedule.warmup_steps=2", "train.threads=1"),
)


def main() -> None:
    """Train, translate and save the result."""
    parser = command_line(__doc__)
    parser.add_argument("--config", type=Path, help="config of the model to compare with")
    parser.add_argument("--test", nargs=2, type=Path, metavar="FILE", help="source and reference")
    parser.add_argument("--name", default="baseline", help="name of the result")
    parser.add_argument("--hypotheses", type=Path, help="file for the translations")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value")
    args = parser.parse_args()
    if args.smoke_test:
        with temporary_folder() as folder:
            write_corpus(folder)
            data = [f"data.{split}=[{folder}/{split}.en,{folder}/{split}.de]" for split in ("train", "valid")]
            test = [folder / "valid.en", folder / "valid.de"]
            config = load_settings(RunConfig, None, [*SMOKE_TEST, *data, f"data.cache_dir={folder / 'cache'}"])
            result = compare(config, test, args.device, folder / "hypotheses")
    elif args.test and args.hypotheses:
        config = load_settings(RunConfig, args.config, args.overrides)
        result = compare(config, args.test, args.device, args.hypotheses)
    else:
        parser.error("give --config, --test and --hypotheses")
    save(f"marian_{args.name}", result, make_tables(result), smoke_test=args.smoke_test)


def compare(config: RunConfig, test: list[Path], device: str, hypotheses: Path) -> dict[str, Any]:
    """Train and translate; return the figures."""
    as_written: dict[str, Any] = dict.fromkeys(("bpe_dropout", *AUGMENTATIONS), 0.0)
    config = replace(config, data=replace(config.data, **as_written))
    setup = make_setup(config, prepare(config.data, Path(config.data.cache_dir), quiet=True))
    torch.manual_seed(config.train.seed)
    started = time.perf_counter()
    model = MarianMTModel(make_config(setup.config.model, dropout=config.model.dropout)).to(device)
    tokens = train(model, setup, device)
    minutes = (time.perf_counter() - started) / 60
    lines = translate(model, Tokenizer(setup.prepared.tokenizer_file), read_all_lines(test[0]), device)
    hypotheses.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    score = sacrebleu.corpus_bleu(lines, [read_all_lines(test[1])])
    parameters = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    figures = {"parameters": parameters, "updates": config.train.max_steps, "target_tokens": tokens}
    return new_result(**figures, minutes=round(minutes, 1), bleu=round(score.score, 2), beam=BEAM)


def train(model: nn.Module, setup: Setup, device: str) -> int:
    """Make all updates of the config; return the number of target tokens."""
    config, tokens = setup.config, 0
    schedule = replace(config.schedule, peak_lr=config.schedule.peak_lr * PEAK)
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98), eps=1e-9, fused=True)
    half = config.train.precision == "bf16"
    for step in range(config.train.max_steps):
        update = setup.plan.update(step)
        optimizer.param_groups[0]["lr"] = learning_rate(step + 1, schedule, config.model.d_model)
        optimizer.zero_grad()
        for micro_batch in update.bucket_batches:
            batch = setup.prepared.train.batch(micro_batch).to(torch.device(device))
            src_BM, mask_BM, tgt_BL = batch.inputs
            with torch.autocast(device, torch.bfloat16, enabled=half):
                logits_BLV = model(src_BM, attention_mask=mask_BM.long(), decoder_input_ids=tgt_BL).logits
            labels = batch.labels_BL.flatten()
            loss = F.cross_entropy(
                logits_BLV.float().flatten(0, 1),
                labels,
                ignore_index=IGNORE,
                label_smoothing=SMOOTHING,
                reduction="sum",
            )
            (loss / update.predicted_tokens).backward()
        optimizer.step()
        tokens += update.predicted_tokens
        if step % 500 == 0:
            say(f"update {step}: loss {loss.item() / max(1, int((labels != IGNORE).sum())):.3f}")
    return tokens


@torch.inference_mode()
def translate(model: Any, tokenizer: Tokenizer, lines: list[str], device: str) -> list[str]:
    """Return the translations, made with beam search in batches of similar lengths."""
    model.eval()
    sources = tokenizer.encode(lines)
    order = sorted(range(len(lines)), key=lambda i: len(sources[i]))
    found: dict[int, str] = {}
    for first in range(0, len(order), SENTENCES):
        own = order[first : first + SENTENCES]
        src_BM: Tensor = pad([sources[i] for i in own]).to(device)
        mask_BM = (src_BM != PAD_ID).long()
        longest = src_BM.size(1) + 50
        out_BL = model.generate(src_BM, attention_mask=mask_BM, num_beams=BEAM, do_sample=False, max_new_tokens=longest)
        found.update(zip(own, tokenizer.decode(out_BL.tolist()), strict=True))
    return [found[i] for i in range(len(lines))]


def make_tables(result: dict[str, Any]) -> Tables:
    """Return one row."""
    headings = ["program", "parameters", "updates", "million target tokens", "minutes", "BLEU"]
    row = ["MarianMTModel", f"{result['parameters']:,}", f"{result['updates']:,}"]
    row += [f"{result['target_tokens'] / 1e6:.1f}", f"{result['minutes']:.0f}", f"{result['bleu']:.1f}"]
    return {"marian_baseline": [table(headings, [row])]}


if __name__ == "__main__":
    run_command(main)
