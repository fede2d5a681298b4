"""Constituency trees (section 6.3): bracketed files to trees, trees to token sequences, and back.

Vinyals et al. (2015) write a tree as a sequence of `(NP`, `)NP` and `XX`: the words are dropped, and `XX` stands for
the tag of each word. tensor2tensor, which trained the paper's model, drops the words too, but keeps the tags: it writes
`NP`, `/NP` and `NN`, without the first and the last token, which are the root. `linearise` follows tensor2tensor, with
brackets as in Vinyals et al.; a tag begins with `=`, so that the first character of each token shows its kind.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

from common.errors import InputError
from common.text import unify
from common.text_input import read_lines

TREE_LANG = "tree"
"""Value of `data.target_lang` if the targets are trees."""
OPEN, CLOSE, TAG = "(", ")", "="
"""First characters of the tokens of a tree: a constituent begins, a constituent ends, a word with a tag."""
NUMBERS = tuple(f"#{n}" for n in range(64))
"""Tokens that number words, modulo their count (`data.number_words`)."""
ROOT = "TOP"
"""Label of the root after `simplify`."""
ROOTS = frozenset(["", ROOT, "ROOT", "S1"])
"""Labels that treebanks give to the root."""
TRACE = "-NONE-"
"""Tag of what is not in the text: traces and other empty elements."""
COMMENTS = ("*x*", "#", "%", ";")
"""Beginnings of lines between trees that are comments. The Penn Treebank begins the lines of its notices with `*x*`."""
_ATOM = re.compile(r"[()]|[^() \t\r\n\f\v]+")
_TEXT = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", r"\/": "/", r"\*": "*"}
_ESCAPE = re.compile("|".join(map(re.escape, _TEXT)))


@dataclass(frozen=True, eq=False, repr=False)
class Tree:
    """A node with what is below it. A word is `Tree(tag, (word,))`, with the word as the treebank writes it (`-LRB-`).

    A tree may be nested to any depth: no method is recursive.
    """

    label: str
    children: tuple[Union["Tree", str], ...]

    @property
    def is_preterminal(self) -> bool:
        """True if the node is a word with its tag."""
        return len(self.children) == 1 and isinstance(self.children[0], str)

    @property
    def words(self) -> list[str]:
        """The words as the treebank writes them; see `word_text`."""
        return [str(node.children[0]) for node in self.preterminals()]

    @property
    def tags(self) -> list[str]:
        """The tag of each word."""
        return [node.label for node in self.preterminals()]

    def preterminals(self) -> Iterator["Tree"]:
        """Yield the words with their tags."""
        return (node for node, _ in self.walk() if node.is_preterminal)

    def walk(self) -> Iterator[tuple["Tree", bool]]:
        """Yield each constituent twice, with True before its children and with False after them; a preterminal once."""
        stack = [(self, True)]
        while stack:
            node, begins = stack.pop()
            yield node, begins
            if begins and not node.is_preterminal:
                stack.append((node, False))
                stack += [(child, True) for child in reversed(node.children) if isinstance(child, Tree)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and bracketed(self) == bracketed(other)

    def __hash__(self) -> int:
        return hash(bracketed(self))

    def __repr__(self) -> str:
        return bracketed(self)


def read_trees(file: Path) -> Iterator[Tree]:
    """Yield the trees of a Penn-style file, plain or compressed. A tree may take several lines, a line several trees.

    Blank lines and comments between trees are skipped (see `COMMENTS`).

    Raises:
        InputError: the file has no bracketed trees, or a tree is damaged, with file and line.
        FileNotFoundError: there is no such file.
    """
    stack: list[_Node] = []
    for number, line in enumerate(read_lines(file), start=1):
        if stack or not line.lstrip().startswith(COMMENTS):
            yield from _read_line(line, stack, f"{file}, line {number}", number)
    if stack:
        missing = f"{len(stack)} closing bracket{'s are' if len(stack) > 1 else ' is'} missing"
        raise InputError(f"{file}: {missing} in the tree that begins in line {stack[0].line}. Repair the tree")


def read_parses(file: Path) -> Iterator[Tree | None]:
    """Yield the tree of each line of a parser's output; None for a line without one: empty, `()` or `(())`.

    Raises InputError with file and line if a line has a damaged tree, or several.
    """
    for number, line in enumerate(read_lines(file), start=1):
        stack: list[_Node] = []
        where = f"{file}, line {number}"
        trees = [] if not line.strip("() \t") else list(_read_line(line, stack, where, number))
        if stack:
            raise InputError(f"{where}: the tree does not end in this line. Write each parsed tree in one line")
        if len(trees) > 1:
            raise InputError(f"{where}: the line has {len(trees)} trees. Write one line for each sentence")
        yield trees[0] if trees else None


def _read_line(line: str, stack: "list[_Node]", where: str, number: int) -> Iterator[Tree]:
    """Yield the trees that end in a line. `stack` has the nodes that are open before and after it."""
    for atom in _ATOM.findall(line):
        try:
            tree = _add(atom, stack, number)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if tree is not None:
            yield tree


@dataclass
class _Node:
    """A node whose closing bracket has not been read."""

    line: int
    label: str | None = None
    children: list[Tree | str] = field(default_factory=list)


def _add(atom: str, stack: list[_Node], line: int) -> Tree | None:
    """Read one bracket, label or word. Return the tree if it is complete."""
    if atom == OPEN:
        _open(stack, line)
    elif not stack:
        found = "a closing bracket too many" if atom == CLOSE else f"{_quote(atom)} is in no bracket"
        raise InputError(f"{found}. Give a file with bracketed trees, such as (S (NP (PRP We)) (VP (VBD ran)))")
    elif atom == CLOSE:
        return _close(stack)
    elif stack[-1].label is None:
        stack[-1].label = atom
    else:
        stack[-1].children.append(atom)
    return None


def _open(stack: list[_Node], line: int) -> None:
    if stack and stack[-1].label is None:
        if len(stack) > 1:
            raise InputError(
                f"a node has no label. Is a closing bracket missing in the tree that begins in line {stack[0].line}?"
            )
        stack[-1].label = ""
    stack.append(_Node(line))


def _close(stack: list[_Node]) -> Tree | None:
    node = stack.pop()
    children = tuple(node.children)
    if not children:
        raise InputError(f"the node ({node.label or ''}) is empty. Give it a word, or remove it")
    words = [child for child in children if isinstance(child, str)]
    if words and (len(children) > 1 or not node.label):
        raise InputError(f"the word {_quote(words[0])} has no tag of its own. Write it as (TAG {words[0][:60]})")
    tree = Tree(node.label or "", children)
    if not stack:
        return tree
    stack[-1].children.append(tree)
    return None


def simplify(tree: Tree) -> Tree | None:
    """Return the tree that a parser predicts, with the root TOP, or None if it has no words.

    Functional tags and indices are removed (`NP-SBJ-1` and `NP=2` become `NP`), then traces (`-NONE-`), then
    constituents without words.
    """
    stack: list[list[Tree | str]] = [[]]
    for node, begins in tree.walk():
        if node.is_preterminal:
            if node.label != TRACE:
                stack[-1].append(Tree(plain_label(node.label), node.children))
        elif begins:
            stack.append([])
        elif children := stack.pop():
            stack[-1].append(Tree(plain_label(node.label), tuple(children)))
    found = tuple(stack[0])
    while len(found) == 1 and isinstance(found[0], Tree) and found[0].label in ROOTS and not found[0].is_preterminal:
        found = found[0].children
    return Tree(ROOT, found) if found else None


def plain_label(label: str) -> str:
    """Return a label without functional tags and indices: `NP` for `NP-SBJ=2`. `-LRB-` and the like stay."""
    return label if label.startswith("-") else label[:1] + re.split("[-=]", label[1:], maxsplit=1)[0]


def linearise(tree: Tree) -> list[str]:
    """Return the tokens of a simplified tree: `(NP`, `)NP`, and `=NN` for a word. The words are dropped.

    The root is dropped too if it has one child, a constituent. So each tree is one constituent: `(S … )S`, or `(TOP …
    )TOP` for a root with several children.
    """
    tokens = [(TAG if node.is_preterminal else OPEN if begins else CLOSE) + node.label for node, begins in tree.walk()]
    return tokens[1:-1] if _is_wrapper(tree) else tokens


def delinearise(tokens: Sequence[str], words: Sequence[str]) -> Tree:
    """Return the tree with the root TOP whose tokens these are.

    Args:
        words: the words, as text or as a treebank writes them.

    Raises InputError with the reason if the tokens are not one constituent, or have not one tag for each word.
    """
    stack: list[tuple[str, list[Tree | str]]] = [("", [])]
    escaped = map(escape_word, words)
    for number, token in enumerate(tokens, start=1):
        kind, label, where = token[:1], token[1:], f"token {number} of the tree is {_quote(token)}"
        if not label or kind not in (OPEN, CLOSE, TAG):
            raise InputError(f"{where}, not such as (NP, )NP or =NN")
        if len(stack) == 1 and stack[0][1]:
            raise InputError(f"{where}, after the end of the tree")
        if len(stack) == 1 and kind != OPEN:
            raise InputError(f"{where}, but no constituent is open")
        if kind == OPEN:
            stack.append((label, []))
        elif kind == TAG:
            word = next(escaped, None)
            if word is None:
                raise InputError(f"{where}, but there are only {len(words)} words")
            stack[-1][1].append(Tree(label, (word,)))
        elif stack[-1][0] != label:
            raise InputError(f"{where}, but {OPEN}{stack[-1][0]} is open")
        elif not stack[-1][1]:
            raise InputError(f"{where}, which ends a constituent without words")
        else:
            children = stack.pop()[1]
            stack[-1][1].append(Tree(label, tuple(children)))
    if len(stack) > 1 or not tokens:
        raise InputError(f"the tree ends before {CLOSE}{stack[-1][0]}" if tokens else "the tree is empty")
    if rest := sum(1 for _ in escaped):
        raise InputError(f"the tree has tags for {len(words) - rest} of {len(words)} words")
    (tree,) = stack[0][1]
    return tree if isinstance(tree, Tree) and tree.label == ROOT else Tree(ROOT, (tree,))


def with_tags(tree: Tree, tags: Sequence[str]) -> Tree:
    """Return a simplified tree with other tags. Raises InputError unless there is one for each word."""
    words, new = tree.words, iter(tags)
    if len(tags) != len(words):
        raise InputError(f"there are {len(tags)} tags for {len(words)} words")
    return delinearise([TAG + next(new) if token[0] == TAG else token for token in linearise(tree)], words)


def _is_wrapper(tree: Tree) -> bool:
    """Return True for a root with one child, a constituent."""
    child = tree.children[0]
    return len(tree.children) == 1 and isinstance(child, Tree) and not child.is_preterminal


def number_words(words: Sequence[str]) -> list[str]:
    """Return words with the number of each before it, and a number at the end: `#0 The #1 cat #2`."""
    numbered = [text for number, word in enumerate(words) for text in (NUMBERS[number % len(NUMBERS)], word)]
    return [*numbered, NUMBERS[len(words) % len(NUMBERS)]]


def number_tokens(tokens: Sequence[str]) -> list[str]:
    """Return tokens of a tree with the number of the next word after each tag: `(NP =DT #1 =NN #2 )NP`."""
    numbered: list[str] = []
    words = 0
    for token in tokens:
        numbered.append(token)
        if token[:1] == TAG:
            words += 1
            numbered.append(NUMBERS[words % len(NUMBERS)])
    return numbered


def remove_numbers(tokens: Sequence[str]) -> list[str]:
    """Return the tokens that `number_tokens` got."""
    return [token for token in tokens if token not in NUMBERS]


def bracketed(tree: Tree) -> str:
    """Return a tree as one line of a treebank."""
    parts: list[str] = []
    for node, begins in tree.walk():
        if node.is_preterminal:
            parts.append(f" ({node.label} {node.children[0]})")
        else:
            parts.append(f" ({node.label}" if begins else ")")
    return "".join(parts)[1:]


def word_text(word: str) -> str:
    """Return the text of a word of a treebank: `(` for `-LRB-`, `/` for `\\/`. Quotation marks stay as they are.

    No-break, thin and zero-width spaces in the word are removed, because a space in a text separates words. A word that
    consists of them becomes `_`.
    """
    text = _ESCAPE.sub(lambda found: _TEXT[found[0]], word)
    return text if text.isascii() else "".join(unify(text).split()) or "_"


def escape_word(text: str) -> str:
    """Return a word as treebanks write it: `-LRB-` for `(`. What is escaped stays as it is.

    Raises InputError if the text is not one word.
    """
    if _ATOM.fullmatch(word := text.replace("(", "-LRB-").replace(")", "-RRB-")) is None:
        raise InputError(f"{_quote(text)} is not one word. Separate words by spaces")
    return word


def _quote(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
