"""A parser small enough for every test: random weights, and a vocabulary with the tokens of some trees."""

from pathlib import Path

import torch

from data_pipeline.sources.treebanks import read_treebanks
from data_pipeline.tokenizers.sentence_piece import train_tokenizer
from data_pipeline.trees import NUMBERS
from transformer.config import ModelConfig
from transformer.model import Transformer
from transformer.pretrained import save_pretrained

TREEBANK = """\
( (S (NP-SBJ (DT The) (NN cat)) (VP (VBD sat) (PP-LOC (IN on) (NP (DT the) (NN mat)))) (. .)) )
( (S (NP-SBJ-1 (PRP We)) (VP (VBD saw) (NP (NP (DT a) (NN dog)) (PRN (-LRB- -LRB-) (NP (JJ old)) (-RRB- -RRB-)))))
  )
( (FRAG (NP (NNS Cats) (CC and) (NNS dogs)) (NP (-NONE- *))) )
"""


def make_parser(folder: Path, max_len: int = 400, seed: int = 0, numbered: bool = False) -> Path:
    """Write a parser with random weights, and the file `test.trees` beside it. Return the folder of the parser."""
    folder.mkdir(parents=True, exist_ok=True)
    treebank = folder.parent / "test.trees"
    treebank.write_text(TREEBANK, encoding="utf-8")
    pairs = list(read_treebanks([treebank], note=lambda _: None))
    tokens = sorted({token for _, tree in pairs for token in tree.split()} | set(NUMBERS if numbered else ()))
    size = 320 + (len(NUMBERS) if numbered else 0)
    tokenizer = train_tokenizer((words for words, _ in pairs), folder / "tokenizer.model", size, whole_words=tokens)
    torch.manual_seed(seed)
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size, d_model=16, n_layers=1, n_heads=2, d_ff=32, dropout=0.1, max_len=max_len
    )
    decode = {"beam": 3, "alpha": 0.3, "max_extra": 60}
    card = "A test."
    languages = ("en", "tree")
    save_pretrained(folder, Transformer(config), folder / "tokenizer.model", card, languages, decode=decode)
    return folder
