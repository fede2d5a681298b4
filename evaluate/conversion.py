"""Models of the library `transformers` to model folders and back: weights, tokenizer and decoding settings."""

from pathlib import Path
from tempfile import TemporaryDirectory

from common.errors import InputError
from data_pipeline.tokenizers import open_translation_tokenizer
from data_pipeline.tokenizers.byte_pair import BytePairTokenizer
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, UNK_ID
from data_pipeline.tokenizers.sentence_piece_pair import (
    SentencePiecePair,
    export_marian_tokenizer,
    import_marian_tokenizer,
)
from evaluate.model_folders import read_decode_config
from evaluate.test_sets import model_languages
from transformer.formats import gpt2, marian
from transformer.model import GPT, Transformer, count_parameters
from transformer.model_card import model_card, public_name
from transformer.pretrained import find_folder, load_pretrained, save_pretrained

ORIGIN = (
    "Converted from `{source}`, {what} of the library transformers. The licence of the source applies to the weights."
)


def import_gpt2(source: str, output: Path) -> GPT:
    """Write the model folder of a GPT-2; return the model."""
    folder = gpt2.find_gpt2(source)
    model = gpt2.read_gpt2(folder)
    origin = ORIGIN.format(source=public_name(source), what="a GPT-2 (Radford et al., 2019)")
    card = model_card("GPT-2", model.config, count_parameters(model), origin)
    with TemporaryDirectory() as work:
        tokenizer_file = Path(work) / "tokenizer.model"
        BytePairTokenizer.from_gpt2_folder(folder, model.config.vocab_size, tokenizer_file)
        save_pretrained(output, model, tokenizer_file, card)
    return model


def export_gpt2(source: str, output: Path) -> Transformer | GPT:
    """Write the files that transformers' `GPT2LMHeadModel` and `AutoTokenizer` read; return the model."""
    folder = find_folder(source)
    model, config = load_pretrained(folder)
    gpt2.check_exportable(config)
    try:
        tokenizer = BytePairTokenizer(folder / "tokenizer.model")
    except InputError as error:
        raise InputError(f"{error}. transformer.formats.gpt2.to_gpt2 converts the model alone.") from error
    gpt2.write_gpt2(output, model, tokenizer.end_id)
    tokenizer.write_gpt2_files(output)
    return model


def import_marian(source: str, output: Path) -> Transformer:
    """Write the model folder of a Marian or OPUS-MT model; return the model."""
    original = marian.open_marian(source)
    with TemporaryDirectory() as work:
        tokenizer_file = Path(work) / "tokenizer.model"
        ids = import_marian_tokenizer(original.folder, original.special, tokenizer_file)
        model = original.read(ids)
        origin = ORIGIN.format(source=public_name(source), what="a Marian model (Junczys-Dowmunt et al., 2018)")
        languages = original.languages
        card = model_card("Marian", model.config, count_parameters(model), origin, languages=languages or ())
        has_codes = any(piece.startswith(">>") for piece in SentencePiecePair(tokenizer_file).pieces)
        decode = original.decode(split_sentences=not has_codes)
        save_pretrained(output, model, tokenizer_file, card, languages, decode=decode, normalize_unicode=False)
    return model


def export_marian(source: str, output: Path, model_type: marian.ModelType = "marian") -> Transformer | GPT:
    """Write the files that transformers' `AutoModelForSeq2SeqLM` and `AutoTokenizer` read; return the model."""
    folder = find_folder(source)
    model, config = load_pretrained(folder)
    marian.check_exportable(config, model_type)
    tokenizer, decode = open_translation_tokenizer(folder / "tokenizer.model"), read_decode_config(folder)
    alpha = 0.0 if decode.length_penalty == "none" else decode.alpha
    marian.write_marian(output, model, (PAD_ID, UNK_ID, BOS_ID, EOS_ID), decode.beam, alpha)
    export_marian_tokenizer(tokenizer, output, model_languages(folder))
    return model


def export_pegasus(source: str, output: Path) -> Transformer | GPT:
    """Write a pre-norm model as `export_marian` writes a post-norm model; return it."""
    return export_marian(source, output, "pegasus")
