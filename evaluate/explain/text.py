"""An explanation as lines of text."""

from collections.abc import Iterator

from torch import Tensor

from evaluate.decoding.search import length_penalty
from evaluate.explain.explanation import Beam, Explanation
from evaluate.explain.record import Operation
from evaluate.explain.search import Choice, Node, finished
from evaluate.explain.words import Labels
from transformer.config import ModelConfig

EXCERPT = 4
"""Number of values of a result that are shown."""


def text_lines(explanation: Explanation) -> Iterator[str]:
    """Yield the lines of the explanation. They may contain control characters of the input."""
    yield f"input:  {explanation.text}"
    yield f"output: {explanation.output}"
    for name, sequence in explanation.sequences.items():
        yield f"{name} input, {len(sequence.texts)} subwords: {' '.join(sequence.texts)}"
    yield ""
    yield f"Forward pass. {legend(explanation.config)}"
    yield f"The last column has the first {EXCERPT} values: of the first position; of attention, of its first head."
    for operation in explanation.operations:
        yield _operation_line(operation)
    yield ""
    yield "Output, token by token: chosen token, its probability, and the most likely tokens"
    for n, choice in enumerate(explanation.choices, 1):
        yield _choice_line(n, choice, explanation.labels)
    if explanation.beam is not None:
        yield ""
        yield from _beam_lines(explanation.beam, explanation.labels)


def legend(config: ModelConfig) -> str:
    """Return the letters of the shapes with their sizes."""
    return (
        f"B: batch, L: queries, M: keys and values, D = d_model = {config.d_model}, H = heads = {config.n_heads}, "
        f"K = head size = {config.head_size}, F = d_ff = {config.d_ff}, V = vocabulary = {config.vocab_size}"
    )


def layer_name(name: str) -> str:
    """Return the path of a module with layers counted from 1: `encoder.1.self_attention`."""
    parts = name.split(".")
    return ".".join(str(int(part) + 1) if part.isdigit() else part for part in parts if part != "blocks")


def shape(operation: Operation) -> str:
    """Return the shape of a result, such as `BLD 1x13x256`."""
    return f"{operation.dims} {'x'.join(map(str, operation.value.shape))}"


def excerpt(value: Tensor) -> str:
    """Return the first values of the first row."""
    first = value.reshape(-1, value.shape[-1])[0, :EXCERPT].tolist()
    return " ".join(f"{number:6.3f}" for number in first)


def _operation_line(operation: Operation) -> str:
    name = layer_name(operation.name)
    return f"{name:<32} {shape(operation):<17} {operation.text:<32} {operation.paper:<18} {excerpt(operation.value)}"


def _choice_line(n: int, choice: Choice, labels: Labels) -> str:
    top = ", ".join(f"{labels.of(token)} {probability:.3f}" for token, probability in choice.top)
    return f"{n:>3} {labels.of(choice.token):<16} {choice.probability:.3f}   {top}"


def _beam_lines(beam: Beam, labels: Labels) -> Iterator[str]:
    config = beam.config
    yield f"Beam search with {config.beam} hypotheses. score = log P / {config.penalty_formula}, alpha {config.alpha}"
    for n, step in enumerate(beam.steps, 1):
        yield f"step {n}"
        for node in step.candidates:
            mark = "*" if is_on_path(node, beam.chosen) else " "
            numbers = f"log P {node.log_prob:7.3f}  score {node.score:7.3f}"
            yield f"  {mark} {node.fate:<7} {numbers}  {labels.text(node.tokens)}"
    yield f"The search stopped after step {len(beam.steps)}: {beam.reason}."
    yield "Finished hypotheses, the best score first:"
    for node in finished(beam.steps):
        mark = "*" if node is beam.chosen else " "
        penalty = length_penalty(config.length_penalty, float(len(node.tokens)), config.alpha)
        yield f"  {mark} score {node.score:7.3f} = {node.log_prob:.3f} / {penalty:.3f}  {labels.text(node.tokens)}"
    yield "* is chosen: the best score of all finished hypotheses."


def is_on_path(node: Node, end: Node) -> bool:
    """Return True if `end` is this hypothesis or extends it."""
    return end.tokens[: len(node.tokens)] == node.tokens
