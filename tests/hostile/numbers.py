"""Numbers beyond reason, and settings and options that no program expects."""

from tests.hostile.runner import Input

TRANSLATE = "transformer/translate.py --model {base}/model"
GENERATE = "transformer/generate.py --model {base}/gpt --prompt The"
SCORE = "evaluate/bleu.py --hypotheses a.de --reference a.de --output out"
TINY = (
    "train/train.py data.train=[a.en,a.de] data.test=null data.vocab_size=300 model.d_model=16 model.n_layers=1 "
    "model.n_heads=2 model.d_ff=32 model.max_len=100 train.max_steps=1 checkpoints.average_last=1 run_dir=run "
    "data.cache_dir=cache validation.bleu_sentences=0 train.log_with=none batches.tokens_per_update=4000"
)
"""A complete training run of a second; a setting that follows is given in addition."""
HUGE = 10**12


def train_with(setting: str) -> str:
    """Return `TINY` with another setting; a setting that is given twice would be refused for that."""
    key = setting.split("=")[0].strip("'")
    return " ".join([*(word for word in TINY.split() if word.split("=")[0] != key), setting])


def name_of(setting: str) -> str:
    """Return a short name of an input."""
    return (
        f"train {setting!r}"
        if len(setting) < 60
        else f"train {setting[:20]!r}…{setting[-9:]!r}, {len(setting)} letters"
    )


OPTIONS = {  # option of transformer.translate: how it must end
    "--beam 0": "refused", "--beam -1": "refused", f"--beam {HUGE}": "refused", "--beam 1e3": "refused",
    "--beam 1.5": "refused", "--beam nan": "refused", "--beam ''": "refused", f"--samples {HUGE}": "refused",
    "--samples 0": "refused", "--samples -5": "refused", "--alpha nan": "refused", "--alpha inf": "refused",
    "--alpha -1": "refused", "--alpha 1e300": "refused", "--alpha 1e-300": "right", f"--n-best {HUGE}": "refused",
    "--n-best 0": "refused", f"--batch-tokens {HUGE}": "refused", "--batch-tokens 0": "refused",
    "--batch-tokens 1": "right", f"--max-length {HUGE}": "right", "--max-length 0": "refused",
    f"--min-length {HUGE}": "refused", f"--max-extra {HUGE}": "right", "--max-extra -1": "refused",
    "--samples 2 --temperature nan": "refused", "--samples 2 --temperature inf": "refused",
    "--samples 2 --temperature -1": "refused", "--samples 2 --temperature 1e-300": "right",
    "--samples 2 --temperature 1e-30": "right", "--samples 2 --temperature 1e300": "right",
    "--samples 2 --top-k 0": "refused", f"--samples 2 --top-k {HUGE}": "right", "--samples 2 --top-p 0": "refused",
    "--samples 2 --top-p nan": "refused", "--samples 2 --top-p 1e-300": "right", "--samples 2 --top-p 2": "refused",
    f"--samples 2 --seed {10**40}": "right", "--samples 2 --seed -1": "right", "--compute-type int3": "refused",
    "--compute-type ''": "refused", "--backend torch --backend torch": "either",
}  # fmt: skip
GENERATION = {
    f"--num-samples {HUGE}": "refused", "--num-samples -1": "refused", f"--max-tokens {HUGE}": "refused",
    "--max-tokens 0": "refused", "--max-tokens 3 --temperature 1e-300": "right",
    "--max-tokens 3 --num-samples 2000": "right", "--max-tokens 3 --top-p 1e-320": "right",
    "--max-tokens 3 --prompt ''": "refused", "--max-tokens 3 --prompt '\x1b[31m'": "refused",
}  # fmt: skip
SETTINGS = [
    f"data.grammar_pairs={HUGE}", f"batches.tokens_per_update={HUGE}", "model.d_model=1000000000",
    "model.d_model=65536", "model.max_len=1000000000", f"model.n_layers={HUGE}", f"model.n_heads={HUGE}",
    f"model.d_ff={HUGE}", f"model.d_head={HUGE}", "model.n_kv_heads=3", f"model.vocab_size={HUGE}",
    f"data.vocab_size={HUGE}", "data.vocab_size=-1", "data.vocab_size=1e300", "data.max_length=0",
    "data.max_ratio=nan", "data.max_ratio=0", "train.threads=10000", "train.threads=0", f"train.max_steps={10**30}",
    "train.max_steps=-1", "train.seed=1e400", f"train.seed={10**40}", "train.max_hours=nan", "train.max_hours=-1",
    "train.label_smoothing=nan", "train.label_smoothing=1", "train.precision=int8", "schedule.peak_lr=nan",
    "schedule.scale=inf", "schedule.warmup_steps=0", f"schedule.warmup_steps={10**400}", "optimizer.eps=0",
    "optimizer.beta1=nan", "optimizer.beta2=1", "optimizer.clip_norm=nan", f"checkpoints.keep={-HUGE}",
    "checkpoints.every=0", f"batches.per_update={HUGE}", f"batches.buckets={HUGE}", f"batches.micro_tokens={HUGE}",
    "batches.micro_tokens=0", f"validation.sample_tokens={HUGE}", "decode.beam=1e9", "decode.alpha=1e300",
    f"data.problems={HUGE}", f"data.digits={HUGE}", "data.valid_part=nan", "data.source_lang=en\x1b[31m",
    "'data.source_lang=en\nlicense: mit'", "data.target_lang=../de", "data.train=${oc.env:SECRET_TOKEN}",
    "run_dir=${oc.env:HOME}/x", "train.init_from=/dev/zero", "data.tokenizer=/dev/zero", "data.train=/dev/zero",
    "data.train=[/dev/zero,/dev/zero]", "data.train=null", "data.train={}", "data.train=[]", "data.train=[[[]]]",
    "data.train=12345", "data.train=!!python/object/apply:os.system", "data.train=" + "[" * 3000,
    "data.train=[" + "[" * 3000 + "]" * 3001, "a." * 3000 + "a=1", "=", "==", "model", "model=1", "model=null",
    "model.d_model=", "model.d_model", "model.d_model=true", "model.d_model=[1]", "model.d_model=" + "9" * 5000,
    "model..d_model=1", "'model.d_model =16'", "run_dir=a.en", "run_dir=/proc/x", "run_dir=/dev/null",
    "data.cache_dir=a.en", "data.cache_dir=/dev/null/x", "run_dir=" + "x" * 5000, "data.valid=[a.en,a.en,a.en]",
    "data.train=[a.en]", "data.train=a.en", "data.train=nowhere/x.tsv", "data.train=a:b:c:d:e", "data.train=../../..",
    "data.text_column=x data.task=language_modelling", "train.log_with=wandb", "--config /dev/zero", "--config a.en",
    "--config .", "--config nowhere.yaml", "--no-such-option",
]  # fmt: skip
RIGHT = ["train.seed=-1", "data.seed=0", "data.vocab_size=300", "decode.batch_tokens=1", f"data.max_length={10**6}"]

NUMBERS = [
    *(Input(f"translate {option}", f"{TRANSLATE} {option} 'The cat.'", end=end) for option, end in OPTIONS.items()),  # type: ignore[arg-type]
    *(Input(f"generate {option}", f"{GENERATE} {option}", end=end) for option, end in GENERATION.items()),  # type: ignore[arg-type]
    *(Input(name_of(setting), train_with(setting), end="refused") for setting in SETTINGS),
    *(Input(name_of(setting), train_with(setting), end="right") for setting in RIGHT),
    Input("train twice data.seed", f"{TINY} data.seed=1 data.seed=2"),
    Input("score without reference", "evaluate/bleu.py --hypotheses a.de"),
    Input("score langpair", f"{SCORE} --langpair '\x1b[31m-\x1b'", end="either"),
    Input("score output is a file", SCORE.replace("--output out", "--output a.en")),
    Input("score output on a device", SCORE.replace("--output out", "--output /dev/full")),
    Input("average --last 0", "train/average.py {base}/run --last 0"),
    Input("average without a run", "train/average.py nowhere"),
    Input("average a file", "train/average.py a.en"),
    Input("replay without a folder", "train/replay.py nowhere"),
    Input("export into a file", "transformer/export.py {base}/model a.en", end="refused"),
    Input("convert nothing", "transformer/convert.py --from gpt2 nowhere out"),
    Input("convert into a file", "transformer/convert.py --to gpt2 {base}/gpt a.en"),
    Input("convert a GPT that is no GPT-2", "transformer/convert.py --to gpt2 {base}/gpt out"),
    Input(
        "score into a device", SCORE.replace("--output out", "--output /dev/null/x"), says="/dev/null is not a folder"
    ),
    Input("train into a file", train_with("run_dir=a.en/x"), says="a.en is not a folder"),
]
