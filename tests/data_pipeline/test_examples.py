"""Ids to tensors: the target is shifted once, and padding is nobody's target."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_pipeline.batch_plan import NULL_ROW, Slice
from data_pipeline.examples import IGNORE, collate
from data_pipeline.token_store import IdArray, IdWriter, ParallelIds
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID


@pytest.fixture
def ids(tmp_path: Path) -> ParallelIds:
    for side, sentences in {
        "x.src": [[10, 11, EOS_ID], [12, EOS_ID]],
        "x.tgt": [[20, EOS_ID], [21, 22, EOS_ID]],
    }.items():
        with IdWriter(tmp_path / side, vocab_size=100) as writer:
            writer.append(sentences)
    return ParallelIds(IdArray(tmp_path / "x.src"), IdArray(tmp_path / "x.tgt"))


def test_the_decoder_reads_bos_and_predicts_the_sentence_with_its_eos(ids: ParallelIds) -> None:
    batch = collate(ids, Slice(np.array([1, 0]), src_len=4, tgt_len=3))
    src_BM, mask_BM, tgt_BL = batch.inputs
    assert src_BM.tolist() == [[12, EOS_ID, PAD_ID, PAD_ID], [10, 11, EOS_ID, PAD_ID]]
    assert mask_BM.tolist() == [[True, True, False, False], [True, True, True, False]]
    assert tgt_BL.tolist() == [[BOS_ID, 21, 22], [BOS_ID, 20, PAD_ID]]
    assert batch.labels_BL.tolist() == [[21, 22, EOS_ID], [20, EOS_ID, IGNORE]]


def test_a_null_row_has_a_source_to_attend_to_and_no_target(ids: ParallelIds) -> None:
    batch = collate(ids, Slice(np.array([0, NULL_ROW]), src_len=3, tgt_len=2))
    assert batch.inputs[1].any(dim=1).all()
    assert (batch.labels_BL[1] == IGNORE).all()
    assert batch.labels_BL.dtype == torch.int64


def test_a_gpu_finds_batches_in_pinned_memory(ids: ParallelIds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies from other memory wait for the device."""
    batch = collate(ids, Slice(np.array([1, 0]), src_len=4, tgt_len=3))
    assert batch.ready_for(torch.device("cpu")) is batch
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self.clone())
    ready = batch.ready_for(torch.device("cuda", 0))
    assert len(pinned) == 4
    for one, other in zip((*ready.inputs, ready.labels_BL), (*batch.inputs, batch.labels_BL), strict=True):
        assert torch.equal(one, other)


def test_every_sentence_is_where_it_belongs_whatever_its_company(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written = {side: [[*rng.integers(4, 90, rng.integers(0, 9)).tolist(), EOS_ID] for _ in range(50)] for side in "st"}
    for side, sentences in written.items():
        with IdWriter(tmp_path / side, vocab_size=100) as writer:
            writer.append(sentences)
    rows = np.append(rng.permutation(50), [NULL_ROW, NULL_ROW])
    batch = collate(ParallelIds(IdArray(tmp_path / "s"), IdArray(tmp_path / "t")), Slice(rows, src_len=9, tgt_len=12))
    src_BM, mask_BM, tgt_BL = batch.inputs
    for i, row in enumerate(rows.tolist()):
        src, tgt = ([EOS_ID], []) if row == NULL_ROW else (written["s"][row], written["t"][row])
        assert src_BM[i].tolist() == src + [PAD_ID] * (9 - len(src))
        assert mask_BM[i].tolist() == [True] * len(src) + [False] * (9 - len(src))
        assert tgt_BL[i].tolist() == [BOS_ID, *tgt[:-1]] + [PAD_ID] * (12 - max(1, len(tgt)))
        assert batch.labels_BL[i].tolist() == tgt + [IGNORE] * (12 - len(tgt))
