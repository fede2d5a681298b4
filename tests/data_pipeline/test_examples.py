"""Targets are shifted once, and padding and prompts are not predicted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_pipeline.batch_plan import BatchPlan
from data_pipeline.block_plan import BlockPlan
from data_pipeline.examples import IGNORE, Documents, Examples, SentencePairs, TokenStream
from data_pipeline.micro_batches import PADDING_ROW, MicroBatch, largest_micro_batch
from data_pipeline.token_store import TokenStoreWriter
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID

BLOCK = 8


def write(folder: Path, **stores: list[list[int]]) -> None:
    for name, sequences in stores.items():
        with TokenStoreWriter(folder / name.replace("_", "."), vocab_size=70000) as writer:
            writer.append(sequences)


@pytest.fixture
def pairs(tmp_path: Path) -> SentencePairs:
    write(tmp_path, x_src=[[10, 11, EOS_ID], [12, EOS_ID]], x_tgt=[[20, EOS_ID], [21, 22, EOS_ID]])
    return SentencePairs.open(tmp_path, "x")


def open_stream(folder: Path, documents: list[list[int]], mask: list[list[int]] | None = None) -> TokenStream:
    write(folder, x=documents, **({} if mask is None else {"x_predicted": mask}))
    return TokenStream.open(folder, "x")


def open_documents(
    folder: Path, documents: list[list[int]], mask: list[list[int]] | None = None, start_id: int = 0
) -> Documents:
    write(folder, x=documents, **({} if mask is None else {"x_predicted": mask}))
    return Documents.open(folder, "x", start_id)


def plan_documents(documents: Documents, tokens: int, per_update: int = 2) -> BatchPlan:
    return BatchPlan(
        documents.src_lengths,
        documents.tgt_lengths,
        tokens_per_update=tokens,
        per_update=per_update,
        max_buckets=4,
        seed=1,
        predicted=documents.predicted,
    )


def plan_stream(stream: TokenStream, tokens: int) -> BlockPlan:
    length = int(stream.tgt_lengths.sum())
    return BlockPlan(length, BLOCK, tokens_per_update=tokens, per_update=2, seed=1, predicted=stream.predicted)


# Sentence pairs


def test_decoder_reads_bos_and_predicts_sentence_with_eos(pairs: SentencePairs) -> None:
    batch = pairs.batch(MicroBatch(np.array([1, 0]), src_len=4, tgt_len=3))
    src_BM, mask_BM, tgt_BL = batch.inputs
    assert src_BM.tolist() == [[12, EOS_ID, PAD_ID, PAD_ID], [10, 11, EOS_ID, PAD_ID]]
    assert mask_BM.tolist() == [[True, True, False, False], [True, True, True, False]]
    assert tgt_BL.tolist() == [[BOS_ID, 21, 22], [BOS_ID, 20, PAD_ID]]
    assert batch.labels_BL.tolist() == [[21, 22, EOS_ID], [20, EOS_ID, IGNORE]]


def test_padding_row_has_source_to_attend_to_and_no_target(pairs: SentencePairs) -> None:
    batch = pairs.batch(MicroBatch(np.array([0, PADDING_ROW]), src_len=3, tgt_len=2))
    assert batch.inputs[1].any(dim=1).all()
    assert (batch.labels_BL[1] == IGNORE).all()
    assert batch.labels_BL.dtype == torch.int64


def test_batch_for_gpu_is_in_pinned_memory(pairs: SentencePairs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies from other memory wait for the device."""
    batch = pairs.batch(MicroBatch(np.array([1, 0]), src_len=4, tgt_len=3, dropout_seed=7))
    assert batch.ready_for(torch.device("cpu")) is batch
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self.clone())
    ready = batch.ready_for(torch.device("cuda", 0))
    assert len(pinned) == 4
    for one, other in zip((*ready.inputs, ready.labels_BL), (*batch.inputs, batch.labels_BL), strict=True):
        assert torch.equal(one, other)
    assert ready.dropout_seed == 7


def test_batch_has_every_pair_in_its_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    src, tgt = ([[*rng.integers(4, 90, rng.integers(0, 9)).tolist(), EOS_ID] for _ in range(50)] for _ in range(2))
    write(tmp_path, x_src=src, x_tgt=tgt)
    indices = np.append(rng.permutation(50), [PADDING_ROW, PADDING_ROW])
    batch = SentencePairs.open(tmp_path, "x").batch(MicroBatch(indices, src_len=9, tgt_len=12))
    src_BM, mask_BM, tgt_BL = batch.inputs
    for row, i in enumerate(indices.tolist()):
        source, target = ([EOS_ID], []) if i == PADDING_ROW else (src[i], tgt[i])
        assert src_BM[row].tolist() == source + [PAD_ID] * (9 - len(source))
        assert mask_BM[row].tolist() == [True] * len(source) + [False] * (9 - len(source))
        assert tgt_BL[row].tolist() == [BOS_ID, *target[:-1]] + [PAD_ID] * (12 - max(1, len(target)))
        assert batch.labels_BL[row].tolist() == target + [IGNORE] * (12 - len(target))


def test_check_lengths_rejects_sentence_longer_than_max_len(pairs: SentencePairs) -> None:
    pairs.check_lengths("training", 3)
    with pytest.raises(ValueError, match=r"a training sentence has 3 tokens but model.max_len is 2. Set data.max_len"):
        pairs.check_lengths("training", 2)


# Token streams


def test_stream_label_is_next_token(tmp_path: Path) -> None:
    stream = open_stream(tmp_path, [list(range(100, 140))])
    batch = stream.batch(MicroBatch(np.array([3, 20]), BLOCK, BLOCK, dropout_seed=7))
    assert batch.inputs[0].tolist() == [list(range(103, 111)), list(range(120, 128))]
    assert batch.labels_BL.tolist() == [list(range(104, 112)), list(range(121, 129))]
    assert batch.dropout_seed == 7


def test_stream_validation_predicts_every_token_once(tmp_path: Path) -> None:
    stream = open_stream(tmp_path, [list(range(5)), list(range(5, 46))])
    batches = [stream.batch(micro_batch) for micro_batch in stream.micro_batches(positions=24, block=BLOCK)]
    labels = [label for batch in batches for label in batch.labels_BL.flatten().tolist()]
    assert sorted(label for label in labels if label != IGNORE) == list(range(1, 46))
    assert stream.predicted_tokens == 45


def test_stream_does_not_predict_prompt(tmp_path: Path) -> None:
    ids, mask = list(range(100, 120)), [0, 0, 0, 1, 1] * 4
    batch = open_stream(tmp_path, [ids], [mask]).batch(MicroBatch(np.array([0]), BLOCK, BLOCK))
    assert batch.inputs[0].tolist() == [ids[:8]]
    assert batch.labels_BL.tolist() == [[IGNORE, IGNORE, 103, 104, IGNORE, IGNORE, IGNORE, 108]]


# Documents


def test_document_row_starts_with_start_id_and_predicts_all_but_prompt(tmp_path: Path) -> None:
    documents = open_documents(tmp_path, [[5, 6, 3], [8, 3]], [[1, 1, 1], [0, 1]], start_id=3)
    batch = documents.batch(MicroBatch(np.array([0, 1]), 3, 3))
    assert batch.inputs[0].tolist() == [[3, 5, 6], [3, 8, 0]]
    assert batch.labels_BL.tolist() == [[5, 6, 3], [IGNORE, 3, IGNORE]]
    assert documents.predicted_tokens == 4


def test_check_lengths_rejects_document_longer_than_row(tmp_path: Path) -> None:
    documents = open_documents(tmp_path, [list(range(9))])
    with pytest.raises(ValueError, match=r"a training document has 9 tokens but a row has 8 .* data.layout=stream"):
        documents.check_lengths("training", BLOCK)


def test_documents_of_equal_length_fill_bucket_batch(tmp_path: Path) -> None:
    documents = open_documents(tmp_path, [list(range(90))] * 60)
    plan = plan_documents(documents, tokens=768, per_update=1)
    assert len(plan.update(0).bucket_batches[0].indices) == 8


def test_documents_validation_predicts_every_token_once(tmp_path: Path) -> None:
    documents = open_documents(tmp_path, [list(range(1, 1 + n)) for n in (5, 3, 8, 5)])
    batches = [documents.batch(micro_batch) for micro_batch in documents.micro_batches(positions=12, block=BLOCK)]
    assert sum(int((batch.labels_BL != IGNORE).sum()) for batch in batches) == documents.predicted_tokens == 21


# All classes


def make_examples(folder: Path) -> dict[str, Examples]:
    rng = np.random.default_rng(0)
    rows = [list(range(rng.integers(3, 9))) for _ in range(60)]
    mask = [rng.integers(0, 2, len(row)).tolist() for row in rows]
    write(folder, x_src=rows, x_tgt=rows)
    return {
        "pairs": SentencePairs.open(folder, "x"),
        "stream": open_stream(folder, rows, mask),
        "documents": open_documents(folder, rows, mask),
    }


@pytest.mark.parametrize("name", ["stream", "documents"])
def test_update_predicted_tokens_equals_labels_of_batches(tmp_path: Path, name: str) -> None:
    examples = make_examples(tmp_path)[name]
    if isinstance(examples, TokenStream):
        plan: BatchPlan | BlockPlan = plan_stream(examples, tokens=160)
    else:
        assert isinstance(examples, Documents)
        plan = plan_documents(examples, tokens=160)
    for k in range(6):
        update = plan.update(k)
        labels = [examples.batch(batch).labels_BL for batch in update.bucket_batches]
        assert sum(int((labels_BL != IGNORE).sum()) for labels_BL in labels) == update.predicted_tokens


def test_padding_row_predicts_no_token(tmp_path: Path) -> None:
    rows = [list(range(8))] * 3
    stream, documents = open_stream(tmp_path, rows), open_documents(tmp_path, rows)
    for examples, plan in (
        (stream, plan_stream(stream, tokens=256)),
        (documents, plan_documents(documents, tokens=256)),
    ):
        batch = examples.batch(largest_micro_batch(plan.shapes, 1))
        assert (batch.labels_BL == IGNORE).all()


def test_texts_returns_index_and_text_without_padding_rows(tmp_path: Path) -> None:
    write(tmp_path, x_src=[[1], [2, 3]], x_tgt=[[4, 5], [6]])
    text = open_stream(tmp_path, [[7, 8], [9, 10]])
    micro_batch = MicroBatch(np.array([1, PADDING_ROW]), 2, 2)

    def decode(ids: list[int]) -> str:
        return " ".join(map(str, ids))

    assert list(SentencePairs.open(tmp_path, "x").texts(micro_batch, decode)) == [(1, {"source": "2 3", "target": "6"})]
    assert list(text.texts(micro_batch, decode)) == [(1, {"text": "8 9 10"})]
    assert list(Documents(text.ids, None, 0).texts(micro_batch, decode)) == [(1, {"text": "9 10"})]


def test_prompts_returns_tokens_before_first_predicted_token(tmp_path: Path) -> None:
    write(tmp_path, y_src=[[1, 2]], y_tgt=[[3]])
    rows, mask = [[5, 6, 7], [8, 9]], [[0, 0, 1], [1, 1]]
    assert open_documents(tmp_path, rows, mask).prompts(5) == [[5, 6], []]
    assert open_stream(tmp_path, rows, mask).prompts(5) == [[]]
    assert SentencePairs.open(tmp_path, "y").prompts(5) == [[1, 2]]
