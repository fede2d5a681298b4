"""Draw a tree: as indented text for a terminal, or as SVG."""

from dataclasses import dataclass, field
from html import escape

from data_pipeline.trees import ROOT, Tree, bracketed, word_text

LETTER, GAP = 8.4, 18
"""Width of a letter, and between two words, in pixels."""
LEVEL, EDGE, SIZE = 44, 20, 14
"""Height of a level, edge of the picture, and size of the letters, in pixels."""
STYLE = """
text { font: 14px system-ui, Helvetica, Arial, sans-serif; text-anchor: middle; fill: #1f5faa }
.tag { fill: #a34300 } .word { fill: #1b1b1b; font-weight: 600 }
path { fill: none; stroke: #8a8a8a; stroke-width: 1.3 } rect { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #8fbef5 } .tag { fill: #f0a56b } .word { fill: #ececec } path { stroke: #8a8a8a } rect { fill: #1b1d21 }
}
"""


def indented(tree: Tree) -> str:
    """Return a tree as text: one line for each constituent and each word, below its parent."""
    tree = _below_root(tree)
    lines: list[str] = []
    waiting: list[tuple[Tree, str, str]] = [(tree, "", "")]  # a node, and what is before it and before its children
    while waiting:
        node, own, below = waiting.pop()
        words = [word_text(child) for child in node.children if isinstance(child, str)]
        lines.append(" ".join([own + node.label, *words]))
        children = [child for child in node.children if isinstance(child, Tree)]
        for child in reversed(children):
            last = child is children[-1]
            waiting.append((child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")))
    return "\n".join(lines)


@dataclass
class _Node:
    """A node of a picture: its label, and where it is."""

    label: str
    kind: str
    children: "list[_Node]" = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0


class TreePicture:
    """A picture of trees, one below the other: the words in a line, the tags above them, and the constituents.

    Args:
        shown_width: width in pixels to which the picture is scaled; None leaves it as it is.
    """

    def __init__(self, *trees: Tree, shown_width: int | None = None) -> None:
        self._shown_width = shown_width
        self._title = " ".join(map(bracketed, trees))
        self._nodes: list[_Node] = []
        self.width, self.height = 0.0, 0.0
        for tree in trees:
            self._add(_below_root(tree))

    def svg(self) -> str:
        """Return the picture as an SVG file, whose colours are those of a light or a dark page."""
        own = round(self.width), round(self.height)
        width = self._shown_width or own[0]
        shown = width, round(own[1] * width / own[0])
        lines = [
            f'<path d="M{node.x:.1f},{node.y + 5:.1f} v7 H{child.x:.1f} V{child.y - SIZE:.1f}"/>'
            for node in self._nodes
            for child in node.children
        ]
        texts = [
            f'<text{node.kind and f" class={chr(34)}{node.kind}{chr(34)}"} x="{node.x:.1f}" y="{node.y:.1f}">'
            f"{escape(node.label)}</text>"
            for node in self._nodes
        ]
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {own[0]} {own[1]}" width="{shown[0]}" '
                f'height="{shown[1]}" role="img">',
                f"<title>{escape(self._title)}</title>",
                f"<style>{STYLE}</style>",
                '<rect width="100%" height="100%" rx="8"/>',
                *lines,
                *texts,
                "</svg>\n",
            ]
        )

    def _add(self, tree: Tree) -> None:
        """Place a tree below the others."""
        nodes = _nodes(tree)
        left, deepest = float(EDGE), 0
        for node, depth in nodes:
            node.y = self.height + EDGE + SIZE + LEVEL * depth
            if not node.children:  # a word
                width = LETTER * max(len(node.label), 2) + GAP
                node.x, left = left + width / 2, left + width
                deepest = max(deepest, depth)
        bottom = self.height + EDGE + SIZE + LEVEL * deepest
        for node, _ in reversed(nodes):  # children before their parents
            if node.kind:
                node.y = bottom - (LEVEL * 0.8 if node.kind == "tag" else 0)
            if node.children:
                node.x = (node.children[0].x + node.children[-1].x) / 2
        self._nodes += [node for node, _ in nodes]
        self.width, self.height = max(self.width, left + EDGE), bottom + EDGE


def _nodes(tree: Tree) -> list[tuple[_Node, int]]:
    """Return the nodes of a picture with their depths: each after its parent, and the words from left to right."""
    found: list[tuple[_Node, int]] = []
    waiting: list[tuple[Tree | str, _Node | None, int]] = [(tree, None, 0)]
    while waiting:
        part, parent, depth = waiting.pop()
        if isinstance(part, str):
            node = _Node(word_text(part), "word")
        else:
            node = _Node(part.label, "tag" if part.is_preterminal else "")
            waiting += [(child, node, depth + 1) for child in reversed(part.children)]
        if parent is not None:
            parent.children.append(node)
        found.append((node, depth))
    return found


def _below_root(tree: Tree) -> Tree:
    """Return the only child of the root; the tree itself if its root has several."""
    (first, *others) = tree.children
    return first if tree.label == ROOT and not others and isinstance(first, Tree) else tree
