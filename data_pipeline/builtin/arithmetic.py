"""Problems of arithmetic with their working, made on the fly: sums for a GPT that adds, and a small calculator.

A document is a question, which is given, and what a model has to write. An integer hash of the problem decides its
split (2% are valid, 2% test), so no seed brings a held-out problem into train; a + b and b + a are one problem, and
so are a * b and b * a.

The calculator's working is cut by commas into steps, of which every character follows from a few others; then come
":" and the answer:

57+68=7851,5621:125          columns, the last first: digit, digit, digit of the sum, carry
57-68=-,8710,6510:-11        the result's sign, then columns of the greater number minus the smaller: digit, digit,
                             digit of the difference, borrow
57*68=8,756065,540054,6,742574,530483:3876
                             a digit of the second number, and for each digit of the first: that digit, their product
                             (two digits), the digit that stood at this place of the result, the one that stands
                             there now, carry
958/41=90,5,2,102020,408080,5230,9810,8,3,103030,412021,8350,3210:23r15
                             the digits with which a division begins, last first; then for each further digit of the
                             first number: that digit, a digit of the quotient, the second number times it as above,
                             and the columns of what that leaves
"""

import re
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from common.errors import InputError

Split = Literal["train", "valid", "test"]
Document = tuple[tuple[str, bool], ...]
"""Text, and whether a model is to learn to write it."""

ARITHMETIC_VERSION = 1
"""Raise it if the same split and seed would give other problems. The fingerprint of the data contains it."""
OPERATIONS = "+-*/"
MOST_DIGITS = {"+": (3, 3), "-": (3, 3), "*": (3, 2), "/": (3, 2)}
"""Of the calculator's two numbers."""
LONGEST = 72
"""Characters of the calculator's longest document, the end of its line included."""

_Ints = npt.NDArray[np.int64]
_AT_ONCE = 1 << 14  # problems that are drawn before it is looked which of them belong to the split
_IN_VAIN = 50  # after so many draws of `_AT_ONCE` without a new problem there is none
_HUNDREDTHS = 2  # of all problems that are valid, and again test


def addition(split: Split, n: int, seed: int, digits: int = 3) -> Iterator[Document]:
    """Yields `n` sums of two numbers of `digits` digits: "057+068=" is given, "5210" and a line break is to be written.

    The sum has a digit more than the numbers and is written from its last digit to its first, in the order in which
    one adds. In train a sum may come again; the other splits have no duplicates, and end where they have no more.

    Raises ValueError for an unknown split, a negative number or more than 9 digits.
    """
    _check("addition", split, n, seed)
    if not 1 <= digits <= 9:
        raise InputError(f"The built-in addition was asked for numbers of {digits} digits; it has those of 1 to 9.")

    def draw(random: Callable[[int], _Ints]) -> tuple[_Ints, _Ints, _Ints]:
        return np.zeros(_AT_ONCE, np.int64), random(10**digits), random(10**digits)

    return (
        ((f"{a:0{digits}}+{b:0{digits}}=", False), (f"{a + b:0{digits + 1}}"[::-1] + "\n", True))
        for _, a, b in _problems(split, n, seed, draw)
    )


def calculator(split: Split, n: int, seed: int) -> Iterator[Document]:
    """Yields `n` problems of the four operations, "57*68=" given, with the working and the answer to be written.

    The operations are equally frequent, and in each of them all lengths of its numbers are (`MOST_DIGITS`). In train
    a problem may come again; the other splits have no duplicates, so of short numbers they have few, and end where
    they have no more.

    Raises ValueError for an unknown split or a negative number.
    """
    _check("calculator", split, n, seed)
    return (
        ((f"{a}{OPERATIONS[op]}{b}=", False), (work(OPERATIONS[op], a, b) + "\n", True))
        for op, a, b in _problems(split, n, seed, _draw_calculation)
    )


def split_of(question: str) -> Split:
    """The split that has this problem. Raises ValueError for what is no question."""
    operation, a, b = parse(question)
    problem = np.array([OPERATIONS.index(operation), int(a), int(b)]).reshape(3, 1)
    return get_args(Split)[int(_split(*problem)[0])]


def parse(question: str) -> tuple[str, str, str]:
    """Operation and both numbers of a question such as "57*68=".

    Raises ValueError for what is no question, or a division by zero.
    """
    match = re.fullmatch(r"([0-9]+)([+\-*/])([0-9]+)=", question)
    if not match:
        raise InputError(f"{question!r} is no question; one looks like 57*68=, with one of + - * / and nothing else.")
    if match[2] == "/" and not int(match[3]):
        raise InputError(f"{question!r} divides by zero.")
    return match[2], match[1], match[3]


def answer(question: str) -> str:
    """The right answer: a number, or for a division the quotient and what remains, such as 23r15."""
    operation, a, b = parse(question)
    return _answer(operation, int(a), int(b))


def work(operation: str, a: int, b: int) -> str:
    """The right working and answer of the calculator, without the end of the line."""
    steps = {"+": _add, "-": _subtract, "*": _multiply, "/": _divide}[operation](a, b)
    return ",".join(steps) + ":" + _answer(operation, a, b)


def final_answer(written: str) -> str | None:
    """The answer in what a model wrote after a question of either kind, as `answer` would put it; None for nonsense."""
    line = written.split("\n")[0]
    if re.fullmatch("[0-9]+", line):  # a sum, last digit first
        return str(int(line[::-1]))
    match = re.fullmatch("[^:]*:(-?[0-9]+(r[0-9]+)?)", line)
    return match[1] if match else None


def describe(question: str) -> tuple[str, str]:
    """Operation and lengths of the numbers, for tables: ("*", "2 and 2 digits")."""
    operation, a, b = parse(question)
    return operation, f"{len(a)} and {len(b)} digits"


def _check(name: str, split: str, n: int, seed: int) -> None:
    if split not in get_args(Split):
        raise InputError(f"The built-in {name} has no split {split!r}; choose one of {', '.join(get_args(Split))}.")
    if n < 0 or seed < 0:
        raise InputError(f"The built-in {name} was asked for n={n} problems with seed={seed}; neither can be negative.")


def _problems(
    split: Split, n: int, seed: int, draw: Callable[[Callable[[int], _Ints]], tuple[_Ints, _Ints, _Ints]]
) -> Iterator[tuple[int, int, int]]:
    """Operation, as its place in `OPERATIONS`, and both numbers. `draw` is given what draws integers below a limit."""
    number = get_args(Split).index(split)
    bits = np.random.PCG64([seed, number])  # its raw numbers are the same in all versions of NumPy
    seen: set[tuple[int, int, int]] = set()
    in_vain = 0
    while n and in_vain < _IN_VAIN:
        drawn = draw(lambda limit: (bits.random_raw(_AT_ONCE) % np.uint64(limit)).astype(np.int64))
        mine = _split(*drawn) == number
        found = list(zip(*(part[mine].tolist() for part in drawn), strict=True))
        if split != "train":
            found = [problem for problem in dict.fromkeys(found) if problem not in seen]
            seen.update(found)
        in_vain = 0 if found else in_vain + 1
        yield from found[:n]
        n -= len(found[:n])


def _split(operation: _Ints, a: _Ints, b: _Ints) -> _Ints:
    """0 train, 1 valid, 2 test: the mixing steps of SplitMix64 (Steele et al. 2014) on the problem, modulo 100."""
    swap = (a > b) & (operation % 2 == 0)  # + and * stand at even places
    first, second = np.where(swap, b, a), np.where(swap, a, b)
    x = ((operation << 60) | (first << 30) | second).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    share = (x ^ (x >> np.uint64(31))) % np.uint64(100)
    return np.where(share < _HUNDREDTHS, 1, np.where(share < 2 * _HUNDREDTHS, 2, 0))


_LOW, _HIGH = np.array([0, 0, 10, 100]), np.array([0, 10, 100, 1000])  # numbers by their digits
_MOST = np.array([MOST_DIGITS[operation] for operation in OPERATIONS])


def _draw_calculation(random: Callable[[int], _Ints]) -> tuple[_Ints, _Ints, _Ints]:
    operation = random(4)
    numbers = []
    for side in (0, 1):
        digits = 1 + random(6) % _MOST[operation, side]  # 6 is a multiple of 2 and 3
        low = np.where((operation == 3) & (side == 1) & (digits == 1), 1, _LOW[digits])  # never 0
        numbers.append(low + random(1 << 40) % (_HIGH[digits] - low))
    return operation, numbers[0], numbers[1]


def _answer(operation: str, a: int, b: int) -> str:
    if operation == "/":
        return f"{a // b}r{a % b}"
    return str(a + b if operation == "+" else a - b if operation == "-" else a * b)


def _digits(number: int) -> list[int]:
    """The last first."""
    return [int(digit) for digit in reversed(str(number))]


def _add(a: int, b: int) -> Iterator[str]:
    carry = 0
    for x, y in zip_longest(_digits(a), _digits(b), fillvalue=0):
        carry, digit = divmod(x + y + carry, 10)
        yield f"{x}{y}{digit}{carry}"


def _subtract(a: int, b: int) -> Iterator[str]:
    yield "-" if a < b else "+"
    yield from _differences(_digits(max(a, b)), _digits(min(a, b)))


def _differences(upper: list[int], lower: list[int]) -> Iterator[str]:
    borrow = 0
    for x, y in zip_longest(upper, lower, fillvalue=0):
        borrow, digit = int(x - y - borrow < 0), (x - y - borrow) % 10
        yield f"{x}{y}{digit}{borrow}"


def _multiply(a: int, b: int) -> Iterator[str]:
    columns = _digits(a)
    result = [0] * (len(columns) + len(str(b)))
    for shift, y in enumerate(_digits(b)):
        yield str(y)
        carry = 0
        for place, x in enumerate(columns, start=shift):
            before = result[place]
            carry, result[place] = divmod(x * y + before + carry, 10)
            yield f"{x}{x * y:02}{before}{result[place]}{carry}"
        result[shift + len(columns)] = carry


def _divide(a: int, b: int) -> Iterator[str]:
    width = len(str(b))
    digits = str(a).zfill(width)
    rest = int("0" + digits[: width - 1])
    yield f"{rest:0{width}}"[::-1]
    for digit in digits[width - 1 :]:
        rest = 10 * rest + int(digit)
        yield digit
        yield from _multiply(b, rest // b)
        upper, lower = (_digits(number)[:width] for number in (rest, rest // b * b))  # nothing is left above
        yield from _differences(upper, lower + [0] * (width - len(lower)))
        rest %= b
