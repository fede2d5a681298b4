"""Which text, which vocabulary, which filters."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from common.errors import InputError
from common.settings import check_positive

Task = Literal["translation", "language_modelling"]


@dataclass(frozen=True)
class DataConfig:
    """Section 5.1: the training data and its shared vocabulary. The defaults are WMT14 English-German.

    A corpus (`train`, `valid`, `test`) is one of

    - `"grammar"`, `"grammar:unseen"`: the built-in corpus
    - `"path/x.tsv"`, also .csv, .jsonl and .parquet: a table, plain, .gz or .xz; globs allowed
    - `"folder"`, `"folder:config"`, `"folder:config:split"`: a local dataset folder
    - `"wmt/wmt14:de-en"`, `"name:config:split"`, `"name::split"`: a data set of the Hugging Face hub
    - `["train.en", "train.de"]`: two text files whose lines correspond, plain, .gz or .xz; globs allowed
    - `[["a.en", "a.de"], ["b.tsv"], ["wmt/wmt14:de-en"]]`: several of these

    Where no split is named, the role picks it: train, validation or test.

    For a language model (`task: language_modelling`) a corpus is running text instead:

    - `"addition"`, `"calculator"`: built-in problems of arithmetic
    - `"path/x.txt"`, any text file, plain, .gz or .xz, globs allowed: each file is one document
    - a table, a dataset folder or a data set of the hub as above: each row's `text_column` is one document
    - `["a.txt", "b.jsonl", "name:config"]`: several of these
    """

    RENAMED: ClassVar[dict[str, str]] = {
        "kind": "task",
        "kind=pairs": "task=translation",
        "kind=text": "task=language_modelling",
        "given_column": "prompt_column",
    }

    task: Task = "translation"
    """`translation` of sentence pairs, or `language_modelling` of running text (`model.architecture=gpt`)."""

    train: Any = "wmt/wmt14:de-en"
    """The training corpus."""

    valid: Any = None
    """The validation corpus. None: the validation split of `train`, where that is the built-in corpus or a data
    set that has one; otherwise `valid_pairs` are held out."""

    test: Any = None
    """The test corpus; nothing that `prepare` writes depends on it. None: the test split of `train`, where that is
    the built-in corpus or a data set that has one; otherwise there is none."""

    source_lang: str = "en"
    """Language to translate from; names a column or a key of `translation`."""

    target_lang: str = "de"
    """Language to translate into."""

    source_column: str | None = None
    """Column of a table that holds the source. None: `translation`, else the column named after the language,
    else (a TSV file without a header) the first column."""

    target_column: str | None = None
    """Column of a table that holds the target, found as `source_column` is (without a header: the second)."""

    vocab_size: int = 37000
    """Pieces in the vocabulary that both languages share, special ids included."""

    vocab_type: Literal["bpe", "unigram", "characters", "gpt2"] = "bpe"
    """SentencePiece's model: byte-pair encoding (the paper's, for English-German) or unigram. For text also
    `characters`, every character that occurs, and `gpt2`, the byte-pair encoding of GPT-2 (needs the package
    tokenizers)."""

    tokenizer: str | None = None
    """A vocabulary to use as it is: a model folder, or a `tokenizer.model`. None learns one from the training data."""

    tokenizer_sentences: int = 2_000_000
    """Most sentences, both languages together, that the vocabulary is learned from; beyond it, a sample."""

    max_length: int | None = 256
    """A pair is dropped where a side has more tokens than this, EOS included. None keeps every length.
    The one filter that validation pairs pass, too."""

    max_ratio: float | None = 4.0
    """A pair is dropped where one side has more tokens than this many times the other side's, plus
    `filters.RATIO_SLACK`. None keeps every ratio."""

    drop_empty: bool = True
    """Drop a training pair with an empty side."""

    drop_duplicates: bool = True
    """Drop a training pair that occurred before, both sides alike."""

    drop_copies: bool = True
    """Drop a training pair whose target is its source."""

    valid_pairs: int = 1000
    """Pairs held out for validation where `valid` is None and `train` brings none; never more than a twentieth of
    the corpus."""

    text_column: str = "text"
    """Column of a table or data set that holds running text."""

    prompt_column: str | None = None
    """Column whose text stands before that of `text_column` and is given, not predicted: a question, a prompt."""

    layout: Literal["stream", "documents"] = "stream"
    """Running text as one `stream` that is cut into blocks anywhere, or `documents` in rows of their own, each read
    from its beginning."""

    valid_part: float = 0.1
    """The end of the running text that is held out for validation where `valid` is None and `train` brings none: a
    tenth, as nanoGPT does."""

    problems: int = 400_000
    """Training problems of the built-in arithmetic."""

    digits: int = 3
    """Digits of a number in the built-in additions."""

    seed: int = 1
    """Seed of the held-out pairs, of the vocabulary's sample and of the built-in corpus."""

    grammar_pairs: int = 40_000
    """Training pairs of the built-in corpus."""

    cache_dir: str = ".cache/data"
    """Folder for what `prepare` writes."""

    def __post_init__(self) -> None:
        lowest = {"vocab_size": 1, "tokenizer_sentences": 2, "valid_pairs": 1, "grammar_pairs": 1, "seed": 0}
        lowest |= {"problems": 1, "digits": 1}
        for name, least in (lowest | {"max_length": 2, "max_ratio": 1}).items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"data.{name} is {value}; it must be at least {least}")
        if not 0 < self.valid_part < 1:
            raise InputError(f"data.valid_part is {self.valid_part}; it must be above 0 and below 1")
        if self.task == "translation" and self.vocab_type not in ("bpe", "unigram"):
            raise InputError(
                f"data.vocab_type={self.vocab_type} is for data.task=language_modelling; "
                "translation takes bpe or unigram"
            )
        for name in ("source_lang", "target_lang"):
            if getattr(self, name) in ("True", "False"):
                raise InputError(
                    f"data.{name} is {getattr(self, name)}, which is how YAML reads no, on and the like: "
                    f'put the name in quotes, as in {name}: "no"'
                )


@dataclass(frozen=True)
class BatchConfig:
    """Settings of the batch plan: how examples form updates (section 5.1). Raises InputError if one is 0 or less."""

    tokens_per_update: int = 25_000
    """Approximate number of source tokens, and of target tokens, per update over all devices, without padding
    (section 5.1)."""
    per_update: int = 4
    """Number of bucket batches per update. It is part of the recipe; it does not depend on the hardware."""
    block: int | None = None
    """Length in tokens of a block of text, for language models. None: `model.max_len`."""
    buckets: int = 24
    """Largest number of length buckets. More length buckets mean less padding."""
    micro_tokens: int | None = None
    """Largest micro-batch, in source or target positions with padding. None: one whole bucket batch. Lower it if memory
    runs out; the updates stay the same."""

    def __post_init__(self) -> None:
        check_positive("batches", self, "tokens_per_update", "per_update", "block", "buckets", "micro_tokens")
