"""Arithmetic problems, generated when they are needed: sums (`addition`) and a calculator with four operations.

A document is a question, which is the prompt, and the text that a model must predict. An integer hash of the problem
decides its split (2% valid, 2% test), so no seed puts a held-out problem into train. a + b and b + a are the same
problem, and so are a * b and b * a.

The calculator writes a scratchpad (intermediate steps) before the answer. Commas separate the steps, and ":" stands
before the answer. Each character follows from a few earlier ones:

57+68=7851,5621:125          columns, the last first: digit, digit, digit of the sum, carry
57-68=-,8710,6510:-11        sign of the result, then columns of the larger number minus the smaller: digit, digit,
                             digit of the difference, borrow
57*68=8,756065,540054,6,742574,530483:3876
                             a digit of the second number; then for each digit of the first number: that digit, the
                             product (two digits), the digit of the result at this place before and after, carry
958/41=90,5,2,102020,408080,5230,9810,8,3,103030,412021,8350,3210:23r15
                             the first digits of the dividend, last first; then for each further digit: that digit,
                             a digit of the quotient, the divisor times that digit (as above), and the columns of
                             the subtraction that gives the remainder
"""

import re
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from common.errors import InputError

ArithmeticSplit = Literal["train", "valid", "test"]
Document = tuple[tuple[str, bool], ...]
"""Segments of text, each with True if a model must predict it, False if it is a prompt."""

ARITHMETIC_VERSION = 1
"""Raise this number if the same split and seed give other problems. The fingerprint of the data contains it."""
OPERATIONS = "+-*/"
MOST_DIGITS = {"+": (3, 3), "-": (3, 3), "*": (3, 2), "/": (3, 2)}
"""Largest number of digits of the first and the second number, for each operation of the calculator."""
LONGEST = 72
"""Characters in the longest document of the calculator, with the line break at its end."""

_Ints = npt.NDArray[np.int64]
_AT_ONCE = 1 << 14  # problems that are drawn together and then filtered by split
_MAX_DRAWS = 50  # draws of `_AT_ONCE` problems without a new one, after which the split has no more
_HELD_OUT_PERCENT = 2  # of all problems are valid, and as many are test


def addition(split: ArithmeticSplit, n: int, seed: int, digits: int = 3) -> Iterator[Document]:
    """Yield `n` sums of two numbers of `digits` digits: the prompt "057+068=", then "5210" and a line break.

    The sum has one digit more than the numbers. Its last digit comes first, because that is the order of addition.
    In train, a sum may occur several times. The other splits have no duplicates, and end if they have fewer than `n`
    problems.

    Raises InputError for an unknown split, a negative `n` or seed, and more than 9 digits.
    """
    _check("addition", split, n, seed)
    if not 1 <= digits <= 9:
        raise InputError(f"data.digits is {digits}; the built-in addition has numbers of 1 to 9 digits")

    def draw(random: Callable[[int], _Ints]) -> tuple[_Ints, _Ints, _Ints]:
        return np.zeros(_AT_ONCE, np.int64), random(10**digits), random(10**digits)

    return (
        ((f"{a:0{digits}}+{b:0{digits}}=", False), (f"{a + b:0{digits + 1}}"[::-1] + "\n", True))
        for _, a, b in _problems(split, n, seed, draw)
    )


def calculator(split: ArithmeticSplit, n: int, seed: int) -> Iterator[Document]:
    """Yield `n` problems of the four operations: the prompt "57*68=", then scratchpad, answer and a line break.

    The operations are equally frequent. Within an operation, all lengths of the numbers up to MOST_DIGITS are equally
    frequent. In train, a problem may occur several times. The other splits have no duplicates, so they contain few
    problems with short numbers, and end if they have fewer than `n` problems.

    Raises InputError for an unknown split and a negative `n` or seed.
    """
    _check("calculator", split, n, seed)
    return (
        ((f"{a}{OPERATIONS[op]}{b}=", False), (f"{scratchpad(OPERATIONS[op], a, b)}\n", True))
        for op, a, b in _problems(split, n, seed, _draw_calculation)
    )


def split_of(question: str) -> ArithmeticSplit:
    """Return the split that contains this problem. Raises InputError if the text is not a question."""
    operation, a, b = parse(question)
    problem = np.array([OPERATIONS.index(operation), int(a), int(b)]).reshape(3, 1)
    return get_args(ArithmeticSplit)[int(_split(*problem)[0])]


def parse(question: str) -> tuple[str, str, str]:
    """Return operation and both numbers of a question such as "57*68=".

    Raises InputError if the text is not a question, or divides by zero.
    """
    match = re.fullmatch(r"([0-9]+)([+\-*/])([0-9]+)=", question)
    if not match:
        raise InputError(
            f"{question!r} is not a question. Write two whole numbers with one of + - * / between them, as in 57*68=."
        )
    if match[2] == "/" and not int(match[3]):
        raise InputError(f"{question!r} divides by zero")
    return match[2], match[1], match[3]


def answer(question: str) -> str:
    """Return the correct answer: a number, or quotient and remainder of a division, such as 23r15."""
    operation, a, b = parse(question)
    return _answer(operation, int(a), int(b))


def scratchpad(operation: str, a: int, b: int) -> str:
    """Return the correct intermediate steps and answer of the calculator, without a line break."""
    steps = {"+": _add, "-": _subtract, "*": _multiply, "/": _divide}[operation](a, b)
    return ",".join(steps) + ":" + _answer(operation, a, b)


def final_answer(written: str) -> str | None:
    """Return the answer in what a model wrote after a question, in the form of `answer`, or None if it has none."""
    line = written.split("\n")[0]
    if re.fullmatch("[0-9]+", line):  # a sum, last digit first
        return str(int(line[::-1]))
    match = re.fullmatch("[^:]*:(-?[0-9]+(r[0-9]+)?)", line)
    return match[1] if match else None


def operation_and_digits(question: str) -> tuple[str, str]:
    """Return the operation and the lengths of the numbers, for tables: ("*", "2 and 2 digits")."""
    operation, a, b = parse(question)
    return operation, f"{len(a)} and {len(b)} digits"


def _check(name: str, split: str, n: int, seed: int) -> None:
    if split not in get_args(ArithmeticSplit):
        raise InputError(
            f"the built-in {name} has no split {split!r}. Choose one of {', '.join(get_args(ArithmeticSplit))}."
        )
    if n < 0 or seed < 0:
        raise InputError(f"the built-in {name} needs n and seed of at least 0, not n={n} and seed={seed}")


def _problems(
    split: ArithmeticSplit, n: int, seed: int, draw: Callable[[Callable[[int], _Ints]], tuple[_Ints, _Ints, _Ints]]
) -> Iterator[tuple[int, int, int]]:
    """Yield problems: index of the operation in OPERATIONS, and both numbers.

    `draw` gets a function that draws integers below a limit.
    """
    number = get_args(ArithmeticSplit).index(split)
    bits = np.random.PCG64([seed, number])  # its raw numbers are the same in all versions of NumPy
    seen: set[tuple[int, int, int]] = set()
    draws = 0
    while n and draws < _MAX_DRAWS:
        drawn = draw(lambda limit: (bits.random_raw(_AT_ONCE) % np.uint64(limit)).astype(np.int64))
        mine = _split(*drawn) == number
        found = list(zip(*(part[mine].tolist() for part in drawn), strict=True))
        if split != "train":
            found = [problem for problem in dict.fromkeys(found) if problem not in seen]
            seen.update(found)
        draws = 0 if found else draws + 1
        yield from found[:n]
        n -= len(found[:n])


def _split(operation: _Ints, a: _Ints, b: _Ints) -> _Ints:
    """Return 0 for train, 1 for valid, 2 for test: SplitMix64 (Steele et al. 2014) mixes the problem, modulo 100."""
    swap = (a > b) & (operation % 2 == 0)  # + and * have even indices
    first, second = np.where(swap, b, a), np.where(swap, a, b)
    x = ((operation << 60) | (first << 30) | second).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    share = (x ^ (x >> np.uint64(31))) % np.uint64(100)
    return np.where(share < _HELD_OUT_PERCENT, 1, np.where(share < 2 * _HELD_OUT_PERCENT, 2, 0))


_LOW, _HIGH = np.array([0, 0, 10, 100]), np.array([0, 10, 100, 1000])  # range of the numbers of 0 to 3 digits
_MOST = np.array([MOST_DIGITS[operation] for operation in OPERATIONS])


def _draw_calculation(random: Callable[[int], _Ints]) -> tuple[_Ints, _Ints, _Ints]:
    operation = random(4)
    numbers = []
    for i in (0, 1):
        digits = 1 + random(6) % _MOST[operation, i]  # 6 is a multiple of 2 and 3
        low = np.where((operation == 3) & (i == 1) & (digits == 1), 1, _LOW[digits])  # never 0
        numbers.append(low + random(1 << 40) % (_HIGH[digits] - low))
    return operation, numbers[0], numbers[1]


def _answer(operation: str, a: int, b: int) -> str:
    if operation == "/":
        return f"{a // b}r{a % b}"
    return str(a + b if operation == "+" else a - b if operation == "-" else a * b)


def _digits(number: int) -> list[int]:
    """Return the digits, the last first."""
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
        upper, lower = (_digits(number)[:width] for number in (rest, rest // b * b))  # all higher digits are zero
        yield from _differences(upper, lower + [0] * (width - len(lower)))
        rest %= b
