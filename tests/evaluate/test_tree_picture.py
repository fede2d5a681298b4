"""Trees as text and as pictures."""

import xml.etree.ElementTree as ElementTree

from data_pipeline.trees import Tree, delinearise
from evaluate.tree_picture import TreePicture, indented

TREE = delinearise(
    str.split("(S (NP =DT =NN )NP (VP =VBZ (PRN =-LRB- (NP =NN )NP =-RRB- )PRN )VP )S"),
    ["A", "cat", "<&>", "(", "old", ")"],
)
INDENTED = """\
S
├─ NP
│  ├─ DT A
│  └─ NN cat
└─ VP
   ├─ VBZ <&>
   └─ PRN
      ├─ -LRB- (
      ├─ NP
      │  └─ NN old
      └─ -RRB- )"""
SVG = "{http://www.w3.org/2000/svg}"


def test_indented_text_has_a_line_per_node() -> None:
    assert indented(TREE) == INDENTED
    assert indented(Tree("TOP", (Tree("UH", ("Hi",)), Tree(".", (".",))))) == "TOP\n├─ UH Hi\n└─ . ."


def test_picture_has_words_from_left_to_right_below_their_constituents() -> None:
    root = ElementTree.fromstring(TreePicture(TREE).svg())
    texts = list(root.iter(SVG + "text"))
    x, y = ([float(text.get(name) or 0) for text in texts] for name in "xy")
    words = [i for i, text in enumerate(texts) if text.get("class") == "word"]
    assert [texts[i].text for i in words] == ["A", "cat", "<&>", "(", "old", ")"]
    assert [x[i] for i in words] == sorted(x[i] for i in words)
    assert {y[i] for i in words} == {max(y)}
    assert [text.text for text in texts if text.get("class") is None] == ["S", "NP", "VP", "PRN", "NP"]
    width, height = (float(size) for size in (root.get("viewBox") or "").split()[2:])
    assert 0 < min(x) < max(x) < width
    assert 0 < min(y) < max(y) < height
    assert len(list(root.iter(SVG + "path"))) == len(texts) - 1


def test_picture_can_be_scaled_and_have_several_trees() -> None:
    one, two = (ElementTree.fromstring(TreePicture(*trees, shown_width=540).svg()) for trees in ([TREE], [TREE, TREE]))
    assert one.get("width") == two.get("width") == "540"
    assert float(two.get("height") or 0) > 1.9 * float(one.get("height") or 0)


def test_deep_trees_are_drawn() -> None:
    labels = ["X"] * 3000
    deep = delinearise([*(f"({label}" for label in labels), "=NN", *(f"){label}" for label in labels)], ["a"])
    assert indented(deep).count("\n") == 3000
    assert TreePicture(deep).svg().count("<text") == 3002
