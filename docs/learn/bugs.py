"""Eight famous bugs as patches of this project's code, with the test that catches each of them.

A patch replaces text in the source of a function, for as long as the `with` block of `broken` lasts. No file changes.
"""

import difflib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from benchmarks.runner import ROOT
from data_pipeline.examples import SentencePairs
from train.trainer import Trainer
from transformer.attention import MultiHeadAttention, _few_queries
from transformer.block import Residual
from transformer.layers import Embedding


@dataclass(frozen=True)
class Edit:
    """Replace `before` by `after` wherever it occurs in the source of a function."""

    function: Any
    before: str
    after: str

    def compile(self) -> CodeType:
        """Return the code of the edited function."""
        source = inspect.getsource(self.function)
        assert self.before in source, f"{self.function.__qualname__} does not contain {self.before!r}"
        source = source.replace(self.before, self.after)
        if source.startswith(" "):  # a method is indented in its file, so it needs something around it
            source = f"if True:\n{source}"
        namespace: dict[str, Any] = {}
        exec(source, self.function.__globals__, namespace)
        edited = namespace[self.function.__name__]
        assert isinstance(edited, FunctionType)
        return edited.__code__

    def diff(self) -> str:
        """Return the changed lines with the file that contains them."""
        source = inspect.getsource(self.function)
        old, new = source.splitlines(), source.replace(self.before, self.after).splitlines()
        difference = difflib.unified_diff(old, new, n=0, lineterm="")
        lines = [line for line in difference if not line.startswith(("---", "+++", "@@"))]
        file = Path(inspect.getfile(self.function)).relative_to(ROOT)
        return "\n".join([f"{file}, {self.function.__qualname__}", *lines])


@dataclass(frozen=True)
class Bug:
    """A bug: its patch, why it does what the reader sees, and the test that catches it."""

    name: str
    edits: tuple[Edit, ...]
    why: str
    test: str
    """Path of a test from the root of the repository, as pytest takes it."""


BUGS: dict[int, Bug] = {
    1: Bug(
        "padding in the loss",
        (
            Edit(SentencePairs.batch, "micro_batch.tgt_len, IGNORE)", "micro_batch.tgt_len, PAD_ID)"),
            Edit(
                Trainer.step,
                "predicted = max(1, update.predicted_tokens)",
                "predicted = sum(batch.labels_BL.numel() for batch in batches)",
            ),
        ),
        "The label of padding is a token like any other, and the loss is the mean over all positions. Padding is easy "
        "to predict, so the training loss is too low. The validation loss is divided by the number of real tokens. "
        "Here few positions are padding, and the model learns nearly as well. With more padding the gap grows.",
        "tests/data_pipeline/test_examples.py::test_padding_row_has_source_to_attend_to_and_no_target",
    ),
    2: Bug(
        "wrong norm order, and no final norm",
        (
            Edit(
                Residual.forward,
                "return self.norm(x_BLD + self.dropout(sublayer(x_BLD)))  # LayerNorm(x + Sublayer(x))",
                "return x_BLD + self.dropout(sublayer(self.norm(x_BLD)))",
            ),
            Edit(
                Residual.step,
                "return self.norm.forward(x_ND + sublayer(x_ND))",
                "return x_ND + sublayer(self.norm.forward(x_ND))",
            ),
        ),
        "The norm is before the sub-layer instead of after the sum. That is pre-norm, which needs one more norm at the "
        "end of each stack. Here it is missing, so output layer and cross-attention read the sum itself. With one "
        "block per stack the sum is small, and the model even trains faster than the healthy one. The sum grows with "
        "each block.",
        "tests/transformer/test_model.py::test_residual_is_post_norm_by_default_and_pre_norm_if_set",
    ),
    3: Bug(
        "target not shifted",
        (
            Edit(
                SentencePairs.batch,
                "tgt_BL = _shift_right(labels_BL, BOS_ID, PAD_ID)",
                "tgt_BL = labels_BL.where(labels_BL != IGNORE, PAD_ID)",
            ),
        ),
        "The decoder reads the token that it has to predict, and copies it. The loss is nearly 0. In translation there "
        "is no such token yet: the decoder reads BOS, which is never written, and then repeats a token.",
        "tests/data_pipeline/test_examples.py::test_decoder_reads_bos_and_predicts_sentence_with_eos",
    ),
    4: Bug(
        "missing scale",
        (
            Edit(
                MultiHeadAttention._attend,
                "enable_gqa=self.grouped,",
                "enable_gqa=self.grouped,\n            scale=1.0,",
            ),
            Edit(_few_queries, "alpha=K**-0.5", "alpha=1.0"),
        ),
        "Eq. 1 divides the dot products by the square root of d_k, and this code does not. Their standard deviation "
        "grows with that root. The softmax puts nearly all weight on one position, and its gradient is nearly 0.",
        "tests/transformer/test_model.py::test_multi_head_attention_equals_eq_1_for_each_head",
    ),
    5: Bug(
        "inverted mask",
        (Edit(SentencePairs.batch, "src_BM != PAD_ID", "src_BM == PAD_ID"),),
        "The mask of the source says where padding is, but the attention expects where tokens are. So encoder and "
        "decoder attend to padding only, and the decoder learns German without reading the English sentence.",
        "tests/data_pipeline/test_examples.py::test_batch_has_every_pair_in_its_row",
    ),
    6: Bug(
        "step on the first micro-batch only",
        (
            Edit(
                Trainer.step,
                "total += self.backward(batch.to(self.accelerator.device), weight)",
                "loss = self._loss(self._parallel, batch.to(self.accelerator.device), weight)\n"
                "                if i % len(batches) == 0:\n"
                "                    self._backward(loss * weight)\n"
                "                total += loss.detach()",
            ),
        ),
        "The gradient of an update is that of its first micro-batch. The loss is computed over all micro-batches, but "
        "the others train nothing: most of the time is wasted.",
        "tests/train/test_trainer.py::test_update_does_not_depend_on_micro_batches",
    ),
    7: Bug(
        "tied weights scaled twice",
        (Edit(Embedding.forward, "self.tokens(tokens_BL) * self.scale", "self.tokens(tokens_BL) * self.scale**2"),),
        "The embedding is multiplied by the square root of d_model twice. The sum of embedding and position is then "
        "nearly the embedding alone. The model reads words without their order, and writes the same words repeatedly.",
        "tests/transformer/test_model.py::test_embedding_scales_tokens_by_sqrt_d_model_and_not_positions",
    ),
    8: Bug(
        "mean of means",
        (
            Edit(
                Trainer.step,
                "total += self.backward(batch.to(self.accelerator.device), weight)",
                "tokens = int((batch.labels_BL >= 0).sum())\n"
                "                total += self.backward(batch.to(self.accelerator.device), 1 / tokens / len(batches))",
            ),
        ),
        "The loss of each micro-batch is divided by its own number of tokens, and the update takes the mean of these "
        "means. A token in a micro-batch with few tokens counts more than others. The curve does not show it: the "
        "micro-batches have similar numbers of tokens. With unequal micro-batches the error is larger.",
        "tests/train/test_trainer.py::test_update_does_not_depend_on_micro_batches",
    ),
}
"""The numbers are those of `python -m docs.learn.break_it`."""


@contextmanager
def broken(bug: Bug) -> Iterator[None]:
    """Use the patched functions inside the block."""
    originals: list[tuple[Any, CodeType]] = []
    try:
        for edit in bug.edits:
            originals.append((edit.function, edit.function.__code__))
            edit.function.__code__ = edit.compile()
        yield
    finally:
        for function, code in reversed(originals):
            function.__code__ = code
