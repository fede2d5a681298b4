"""An explanation as one HTML page."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from common.page import html_page, html_table, scrolling
from evaluate.decoding.search import length_penalty
from evaluate.explain.explanation import AttentionMap, Beam, Explanation
from evaluate.explain.search import Choice, Node, finished
from evaluate.explain.text import excerpt, is_on_path, layer_name, legend, shape
from evaluate.explain.words import RULE, Labels

STYLE = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")
ROW = 44
"""Height of a row of the tree, in pixels."""
ATTENTION = """<section aria-labelledby="attention"><h2 id="attention">Attention</h2>
<p>Point at a word, tap it, or move to it with the keys Tab, Left and Right.</p>
<noscript><p>This part of the page needs JavaScript. The tables below do not.</p></noscript>
<div class="controls"><label>Attention <select id="kind"></select></label>
<label>Layer <select id="layer"></select></label> <label>Head <select id="head"></select></label></div>
<p id="meaning"></p>
<div class="words" id="rows" role="group" aria-label="Words that attend"></div>
<p id="to">attends to</p>
<div class="words" id="columns" role="group" aria-labelledby="to"></div>
<p id="said" role="status"></p>
<h3>All heads</h3>
<p>A row of a map is a word that attends, a column a word that is attended to. The frame marks the word above. Choose a
map to see its head.</p>
<div id="heads"></div>
<p class="quiet">"""


def html_explanation(explanation: Explanation) -> str:
    """Return the page."""
    body = [
        f"<h1>{escape(explanation.text)}</h1>\n<p>{escape(explanation.output)}</p>",
        f"{ATTENTION}{escape(RULE)}</p></section>",
        _choices(explanation.choices, explanation.labels),
    ]
    if explanation.beam is not None:
        body.append(_beam(explanation.beam, explanation.labels))
    body.append(_operations(explanation))
    return html_page(
        explanation.text,
        "\n".join(["<main>", *body, "</main>"]),
        STYLE.read_text(encoding="utf-8"),
        SCRIPT.read_text(encoding="utf-8"),
        {kind: map_data(own) for kind, own in explanation.maps.items()},
    )


def map_data(own: AttentionMap) -> dict[str, Any]:
    """Return a map for the script of the page: weights between words, in thousandths."""
    return {
        "title": own.title,
        "meaning": own.meaning,
        "rows": own.rows.words,
        "columns": own.columns.words,
        "weights": (1000 * own.by_words()).round().int().tolist(),
    }


def _choices(choices: list[Choice], labels: Labels) -> str:
    head = "".join(f'<th scope="col">{text}</th>' for text in ("step", "chosen", "probability", "most likely"))
    rows = "".join(
        f"<tr><td>{n}</td><th scope='row'>{escape(labels.of(choice.token))}</th><td>{choice.probability:.3f}</td>"
        f"<td><ul class='top'>{''.join(_top(choice, labels))}</ul></td></tr>"
        for n, choice in enumerate(choices, 1)
    )
    table = f"<table class='steps'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return (
        f"<section><h2>Output, token by token</h2><p>A _ stands for a space.</p>"
        f"{scrolling('Output, token by token', table)}</section>"
    )


def _top(choice: Choice, labels: Labels) -> Iterator[str]:
    for token, probability in choice.top:
        label = escape(labels.of(token))
        yield (
            f"<li{' class=chosen' if token == choice.token else ''}><span>{label}</span>"
            f"<meter max='1' value='{probability:.3f}' aria-label='probability of {label}'></meter>"
            f"<span>{100 * probability:.1f} %</span></li>"
        )


def _beam(beam: Beam, labels: Labels) -> str:
    config = beam.config
    return "\n".join(
        [
            f"<section><h2>Search</h2><p>Beam search keeps {config.beam} hypotheses. It ranks finished ones by score = "
            f"log P / {escape(config.penalty_formula)}, where n is the number of tokens and alpha is {config.alpha}. "
            f"The search stopped after step {len(beam.steps)}: {escape(beam.reason)}.</p>",
            scrolling("Tree of hypotheses", _tree(beam, labels)),
            _finished(beam, labels),
            '<details class="candidates"><summary>All candidates of all steps</summary>',
            *(_step(beam, n, labels) for n in range(len(beam.steps))),
            "</details></section>",
        ]
    )


def _finished(beam: Beam, labels: Labels) -> str:
    nodes = finished(beam.steps)
    config = beam.config
    rows = [
        (
            labels.text(node.tokens), f"{node.score:.3f}", f"{node.log_prob:.3f}", str(len(node.tokens)),
            f"{length_penalty(config.length_penalty, float(len(node.tokens)), config.alpha):.3f}",
        )
        for node in nodes
    ]  # fmt: skip
    chosen = [n for n, node in enumerate(nodes) if node is beam.chosen]
    caption = "Finished hypotheses, the best score first. The first is chosen."
    table = html_table(caption, ("text", "score", "log P", "tokens n", "length penalty"), rows, chosen)
    return f'<div class="finished">{table}</div>'


def _step(beam: Beam, n: int, labels: Labels) -> str:
    candidates = beam.steps[n].candidates
    rows = [(node.fate, f"{node.log_prob:.3f}", f"{node.score:.3f}", labels.text(node.tokens)) for node in candidates]
    chosen = [i for i, node in enumerate(candidates) if is_on_path(node, beam.chosen)]
    return html_table(f"Step {n + 1}", ("", "log P", "score", "text"), rows, chosen)


def _tree(beam: Beam, labels: Labels) -> str:
    """Return the kept and finished hypotheses as SVG: one column per step, the best hypothesis at the top."""
    place: dict[int, tuple[float, float, float]] = {}  # left, right and middle of each node
    edges, nodes, left, rows = [], [], 8.0, 1
    for step in beam.steps:
        shown = [node for node in step.candidates if node.fate != "dropped" or node is beam.chosen]
        shown.sort(key=lambda node: node.fate != "kept")  # finished ones below
        least = 9 if any(node.fate == "ended" for node in shown) else 6  # characters of the figures below the label
        width = 16 + 8 * max([len(labels.of(node.token)) for node in shown] + [least])
        for row, node in enumerate(shown):
            middle = ROW * row + ROW / 2
            place[id(node)] = (left, left + width, middle)
            nodes.append(_tree_node(node, beam, labels, left, middle, width))
            if node.parent is not None and id(node.parent) in place:
                edges.append(_tree_edge(place[id(node.parent)], place[id(node)], is_on_path(node, beam.chosen)))
        rows, left = max(rows, len(shown)), left + width + 32
    return (
        f"<svg class='tree' role='img' aria-label='Tree of hypotheses. The tables below have the same figures.' "
        f"width='{left:.0f}' height='{ROW * rows}'>{''.join(edges)}{''.join(nodes)}</svg>"
    )


def _tree_node(node: Node, beam: Beam, labels: Labels, left: float, middle: float, width: float) -> str:
    number = f"score {node.score:.2f}" if node.fate == "ended" else f"{node.log_prob:.2f}"
    label = escape(labels.of(node.token))
    group = "<g class='chosen'>" if is_on_path(node, beam.chosen) else "<g>"
    return (
        f"{group}<rect x='{left:.0f}' y='{middle - 18:.0f}' width='{width:.0f}' height='36' rx='4'/>"
        f"<text x='{left + 8:.0f}' y='{middle - 3:.0f}'>{label}</text>"
        f"<text class='number' x='{left + 8:.0f}' y='{middle + 12:.0f}'>{number}</text></g>"
    )


def _tree_edge(start: tuple[float, float, float], end: tuple[float, float, float], chosen: bool) -> str:
    x1, y1, x2, y2 = start[1], start[2], end[0], end[2]
    bend = (x1 + x2) / 2
    line = f"M{x1:.0f} {y1:.0f}C{bend:.0f} {y1:.0f} {bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    return f"<path{' class=chosen' if chosen else ''} d='{line}'/>"


def _operations(explanation: Explanation) -> str:
    rows = [
        (layer_name(one.name), shape(one), one.text, one.paper, excerpt(one.value)) for one in explanation.operations
    ]
    table = html_table(legend(explanation.config), ("operation", "shape", "formula", "paper", "first values"), rows)
    return f"<section><h2>Forward pass</h2><details><summary>All operations</summary>{table}</details></section>"
