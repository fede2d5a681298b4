"""Settings of the data and of the batch plan."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from common.directions import Languages, check_directions, describe, parse_direction
from common.errors import InputError
from common.settings import check_at_most, check_language, check_positive
from data_pipeline.trees import TREE_LANG

Task = Literal["translation", "language_modelling"]

AUGMENTATIONS = ("augment_upper", "augment_title", "augment_typos", "augment_no_stop")
"""Settings of `data` that change a share of the training pairs."""


@dataclass(frozen=True)
class DataConfig:
    """Settings of the training data and of the shared vocabulary (section 5.1). Default: WMT14 English-German.

    For translation, a corpus (`train`, `valid`, `test`) is one of

    - `"grammar"`, `"grammar:unseen"`: the built-in corpus
    - `"path/x.tsv"`, also .csv, .jsonl and .parquet: a table, plain, .gz, .xz or .zst; glob patterns are allowed
    - `"path/x.trees"`, also .mrg, .parse and .ptb: a treebank in Penn-style brackets, plain or compressed, for
      `target_lang: tree`; glob patterns are allowed
    - `"folder"`, `"folder:config"`, `"folder:config:split"`: a local dataset folder
    - `"wmt/wmt14:de-en"`, `"name:config:split"`, `"name::split"`: a dataset of the Hugging Face Hub
    - `["train.en", "train.de"]`: two text files with parallel lines, plain, .gz, .xz or .zst; glob patterns are allowed
    - `[["a.en", "a.de"], ["b.tsv"], ["wmt/wmt14:de-en"]]`: several of these

    If no split is named, `train`, `valid` and `test` use the splits train, validation and test.

    One model for several directions has a corpus for each: `{"en-de": ["a.en", "a.de"], "en-fr": "b.tsv"}`.

    For a language model (`task: language_modelling`), a corpus is one of

    - `"addition"`, `"calculator"`: built-in problems of arithmetic
    - `"path/x.txt"`, any text file, plain, .gz, .xz or .zst, glob patterns are allowed: each file is one document
    - a table, a dataset folder or a dataset of the Hub as above: `text_column` of each row is one document
    - `["a.txt", "b.jsonl", "name:config"]`: several of these
    """

    RENAMED: ClassVar[dict[str, str]] = {
        "kind": "task",
        "kind=pairs": "task=translation",
        "kind=text": "task=language_modelling",
        "given_column": "prompt_column",
    }

    task: Task = "translation"
    """`translation`: sentence pairs. `language_modelling`: text, for `model.architecture=gpt`."""

    train: Any = "wmt/wmt14:de-en"
    """Training corpus, or a corpus for each direction, such as `{en-de: [a.en,a.de], en-fr: b.tsv}`: then one model
    translates in all of them (docs/multilingual.md). The default is that of section 5.1."""

    valid: Any = None
    """Validation corpus, or one for each direction of `train`. None: the validation split of `train`, if `train` is the
    built-in corpus or a dataset that has one; otherwise `valid_pairs` pairs of each direction, or `valid_part` of the
    text, are held out of `train`."""

    test: Any = None
    """Test corpus, or one for each direction of `train`. The prepared data do not depend on it. None: the test split of
    `train`, if `train` is the built-in corpus or a dataset that has one; otherwise there is no test corpus."""

    source_lang: str = "en"
    """Source language: letters, digits, `-` and `_`. Also the name of a column, or of a key of the column
    `translation`."""

    target_lang: str = "de"
    """Target language, used in the same way. `tree`: the targets are trees of a treebank, the sources their words
    (section 6.3). If `train` names directions, they are the languages, and this setting and `source_lang` are
    omitted."""

    sampling_temperature: float = 1.0
    """For several directions: temperature T of their shares of an epoch (Arivazhagan et al., 2019), at least 1. A
    direction with n pairs gets a share proportional to n^(1/T): 1 leaves the corpora as they are, 5 is usual, and 100
    makes all directions about equally frequent. The largest direction, which is repeated least, occurs once in an
    epoch, and smaller ones several times."""

    source_column: str | None = None
    """Column of a table with the source: its name, or its number, counted from 1. None: `translation`, or else the
    column whose header has a code or the name of the language, or `source`, or else (without a header) found by its
    content (see docs/datasets.md). If that is not certain, the columns are listed."""

    target_column: str | None = None
    """Column of a table with the target: its name or number. None: found like `source_column`."""

    vocab_size: int = 37000
    """Number of subwords in the vocabulary that both languages share (section 5.1), special tokens included."""

    vocab_type: Literal["bpe", "unigram", "characters", "gpt2"] = "bpe"
    """Kind of tokenizer. `bpe`: byte-pair encoding, as in the paper for English-German (section 5.1). `unigram`:
    SentencePiece's unigram model. For text also `characters`: each character that occurs; and `gpt2`: the byte-pair
    encoding of GPT-2 (needs the package tokenizers)."""

    tokenizer: str | None = None
    """Tokenizer to use unchanged: a model folder, or a file `tokenizer.model`. None: train one on the training data."""

    tokenizer_sentences: int = 2_000_000
    """Largest number of sentences, source and target together, that the tokenizer is trained on: a random sample of a
    larger corpus."""

    bpe_dropout: float = 0.0
    """BPE-dropout (Provilkov et al., 2020) of the training pairs, for `vocab_type=bpe`: probability with which a merge
    is skipped. Each epoch draws other subwords for the same text; 0.1 is usual. With 0, as in the paper, a text always
    has the same subwords."""

    augment_upper: float = 0.0
    """Share of the training pairs that are in UPPER CASE, source and target. Each epoch takes other pairs. URLs,
    placeholders such as `{name}`, and markup stay as they are. Capitals need more subwords. A pair that would have more
    tokens than the longest prepared sentence stays unchanged; with Multi30k and 8,000 subwords, these are 57% of the
    chosen pairs."""

    augment_title: float = 0.0
    """Share of the training pairs that are in Title Case, source and target, chosen in the same way."""

    augment_typos: float = 0.0
    """Share of the training pairs with typos in the source (Karpukhin et al., 2019): in 15% of the words of at least 4
    letters, one letter is swapped with the next one, dropped, doubled or replaced. Each epoch draws other typos."""

    augment_no_stop: float = 0.0
    """Share of the training pairs without full stop, question or exclamation mark at the end, if source and target end
    with one. Each epoch takes other pairs."""

    max_length: int | None = 256
    """Drop a pair if source or target has more tokens, EOS included. None: keep all lengths. This is the only filter
    that also applies to validation pairs."""

    max_ratio: float | None = 4.0
    """Drop a pair if the longer sentence has more tokens than this ratio times the tokens of the shorter one, plus 8
    (`RATIO_SLACK` in sources/filters.py). None: keep all ratios."""

    drop_empty: bool = True
    """Drop a training pair if source or target is empty."""

    drop_duplicates: bool = True
    """Drop a training pair if a pair with the same source and target occurred before."""

    drop_copies: bool = True
    """Drop a training pair if its target equals its source."""

    normalize_unicode: bool = True
    """For translation: change text to Unicode NFC, and no-break, thin and zero-width spaces to plain spaces. The
    finished model changes the text that it translates in the same way. False: text stays as it is."""

    number_words: bool = False
    """For treebanks: put numbers before the words of the source, and the number of the next word after each tag of the
    target, so that the model need not count words. A small model then learns to parse in far fewer updates. False, as
    in the paper: a target has tags without numbers."""

    valid_pairs: int = 1000
    """Number of pairs held out for validation if `valid` is None and `train` has no validation split; at most one in
    twenty pairs of the corpus."""

    text_column: str = "text"
    """Column of a table or dataset with the text, for language models: its name, or its number, counted from 1."""

    prompt_column: str | None = None
    """Column with the prompt, by name or number: text before that of `text_column`, which the loss does not count, such
    as a question."""

    layout: Literal["stream", "documents"] = "stream"
    """`stream`: all documents one after the other, divided into blocks at any position. `documents`: each document in a
    row of its own, from its beginning."""

    valid_part: float = 0.1
    """Share of the text, at its end, that is held out for validation if `valid` is None and `train` has no validation
    split. The default is that of nanoGPT."""

    problems: int = 400_000
    """Number of training problems of the built-in arithmetic."""

    digits: int = 3
    """Number of digits of each number in the built-in additions."""

    seed: int = 1
    """Random seed for held-out pairs, for the sample that the tokenizer is trained on, and for the built-in corpus."""

    grammar_pairs: int = 40_000
    """Number of training pairs of the built-in corpus."""

    cache_dir: str = ".cache/data"
    """Folder for prepared data."""

    def __post_init__(self) -> None:
        lowest = {"vocab_size": 1, "tokenizer_sentences": 2, "valid_pairs": 1, "grammar_pairs": 1, "seed": 0}
        lowest |= {"problems": 1, "digits": 1}
        for name, least in (lowest | {"max_length": 2, "max_ratio": 1}).items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"data.{name} is {value}; it must be at least {least}")
        check_at_most("data", self, vocab_size=10**6, grammar_pairs=10**7, problems=10**8, digits=100, seed=2**63 - 1)
        if not 0 < self.valid_part < 1:
            raise InputError(f"data.valid_part is {self.valid_part}; it must be above 0 and below 1")
        if not 0 <= self.bpe_dropout < 1:
            raise InputError(f"data.bpe_dropout is {self.bpe_dropout}; it must be at least 0 and below 1")
        if self.bpe_dropout and self.task == "language_modelling":
            raise InputError("data.bpe_dropout is for data.task=translation. Leave it out for a language model")
        if self.bpe_dropout and self.vocab_type == "unigram" and self.tokenizer is None:
            raise InputError("data.bpe_dropout is for data.vocab_type=bpe, not unigram")
        self._check_augmentation()
        if self.number_words and self.target_lang != TREE_LANG:
            raise InputError(f"data.number_words is for data.target_lang={TREE_LANG}. Leave it out for other targets")
        check_language("data.source_lang", self.source_lang)
        check_language("data.target_lang", self.target_lang)
        self._check_directions()
        if self.task == "translation" and self.vocab_type not in ("bpe", "unigram"):
            raise InputError(
                f"data.vocab_type={self.vocab_type} is for data.task=language_modelling. For translation, set "
                "data.vocab_type to bpe or unigram."
            )

    @property
    def changes_pairs(self) -> bool:
        """Return True if the ids of training pairs differ from epoch to epoch."""
        return self.bpe_dropout > 0 or any(getattr(self, name) for name in AUGMENTATIONS)

    @property
    def has_directions(self) -> bool:
        """Return True if `train` names directions. Then a tag says to which language a source is translated."""
        return isinstance(self.train, dict)

    def by_direction(self) -> "list[DataConfig]":
        """Return the settings of each direction alone; `[self]` if `train` names none."""
        if not self.has_directions:
            return [self]
        return [self._of(direction) for direction in self.train]

    @property
    def languages(self) -> Languages:
        """Source and target language, if `train` names no directions."""
        return self.source_lang, self.target_lang

    @property
    def direction(self) -> str:
        """Name of the direction, such as `en-de`, if `train` names none."""
        return f"{self.source_lang}-{self.target_lang}"

    def describe_directions(self) -> str:
        """Return the directions in words, such as "en to de and en to fr"."""
        return describe([own.languages for own in self.by_direction()], "and")

    def _of(self, direction: str) -> "DataConfig":
        source, target = parse_direction(direction)
        train, valid, test = (
            None if value is None else value[direction] for value in (self.train, self.valid, self.test)
        )
        return replace(
            self,
            train=train,
            valid=valid,
            test=test,
            source_lang=source,
            target_lang=target,
            sampling_temperature=1.0,
        )

    def _check_directions(self) -> None:
        """Raise InputError if the corpora name different directions, or if settings do not fit the directions."""
        if not 1 <= self.sampling_temperature <= 100:
            raise InputError(f"data.sampling_temperature is {self.sampling_temperature}; it must be from 1 to 100")
        if not self.has_directions:
            for name in ("valid", "test"):
                if isinstance(getattr(self, name), dict):
                    raise InputError(f"data.{name} names directions, but data.train does not. Write both alike")
            if self.sampling_temperature != 1:
                raise InputError(
                    "data.sampling_temperature is for several directions. Leave it out, or name a corpus for each: "
                    "data.train={en-de: …, en-fr: …}"
                )
            return
        if self.task == "language_modelling":
            raise InputError("data.train names directions, which are for data.task=translation")
        if self.languages != (DataConfig.source_lang, DataConfig.target_lang):
            raise InputError(
                "data.train names the languages of each direction. Leave out data.source_lang and data.target_lang"
            )
        for name in ("train", "valid", "test"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, dict) or value.keys() != self.train.keys()):
                raise InputError(
                    f"data.{name} must name a corpus for each direction of data.train, {', '.join(self.train)}, "
                    "and no others"
                )
            if value is not None and None in value.values():
                raise InputError(f"data.{name} names no corpus for {next(d for d in value if value[d] is None)}")
        check_directions("data.train", list(self.train))
        if any(own.target_lang == TREE_LANG for own in self.by_direction()):
            raise InputError("a parser is a model of one direction. Leave the direction to tree out of data.train")

    def _check_augmentation(self) -> None:
        for name in AUGMENTATIONS:
            rate = getattr(self, name)
            if not 0 <= rate <= 1:
                raise InputError(f"data.{name} is {rate}; it must be from 0 to 1")
            if rate and self.task == "language_modelling":
                raise InputError(f"data.{name} is for data.task=translation. Leave it out for a language model")
            if rate and self.target_lang == TREE_LANG and name != "augment_typos":
                raise InputError(f"data.{name} changes targets, which are trees here. Leave it out")
        if self.augment_upper + self.augment_title > 1:
            raise InputError("data.augment_upper and data.augment_title are more than 1 together. Lower one of them")


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
    shard: int | None = None
    """Largest number of sentence pairs or documents that are planned at once. A large corpus is divided into equal
    shards, and an epoch takes one shard after the other, in random order. This bounds the memory of every rank and the
    time until the first update; 4,000,000 is a good value from 40 million pairs on. It is part of the recipe. None: the
    corpus is one shard."""
    micro_tokens: int | None = None
    """Largest micro-batch, in source or target positions with padding. None: one whole bucket batch. Lower it if memory
    runs out; the updates stay the same."""

    def __post_init__(self) -> None:
        check_positive("batches", self, "tokens_per_update", "per_update", "block", "buckets", "shard", "micro_tokens")
        check_at_most("batches", self, tokens_per_update=10**8, per_update=10**4, buckets=10**4, micro_tokens=10**8)
