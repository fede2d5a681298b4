"""Each step of the built-in arithmetic is computed a second time, and its splits are as documented."""

import itertools
from collections import Counter
from functools import cache

import pytest

from data_pipeline.builtin import arithmetic
from data_pipeline.builtin.arithmetic import (
    LONGEST,
    MOST_DIGITS,
    OPERATIONS,
    ArithmeticSplit,
    addition,
    answer,
    calculator,
    final_answer,
    operation_and_digits,
    parse,
    scratchpad,
    split_of,
)

SPLITS: tuple[ArithmeticSplit, ...] = ("train", "valid", "test")
ADDITION = ["127+160=", "086+605=", "885+598="]
CALCULATOR = ["68/76=", "659*9=", "747-1=", "5*10="]


@cache
def sums(split: ArithmeticSplit) -> list[tuple[str, str]]:
    return [(question, written) for (question, _), (written, _) in addition(split, 10_000, seed=1)]


@cache
def problems(split: ArithmeticSplit) -> list[tuple[str, str]]:
    return [(question, written) for (question, _), (written, _) in calculator(split, 10_000, seed=1)]


def of(operation: str) -> list[tuple[int, int, list[list[int]], str]]:
    """Return numbers, steps as digits (without a sign) and answer of all problems of an operation."""
    found = []
    for question, written in problems("train") + problems("test"):
        name, a, b = parse(question)
        if name == operation:
            steps, _, result = written.rstrip("\n").partition(":")
            found.append((int(a), int(b), [[int(c) for c in step] for step in steps.strip("+-,").split(",")], result))
    return found


def backwards(digits: list[int]) -> int:
    """Return the number of digits that are listed from the last to the first."""
    return sum(digit * 10**place for place, digit in enumerate(digits))


def row(number: int, factor: int) -> list[list[int]]:
    """Return the steps of a multiplication by one digit, with zeros as earlier result."""
    steps = scratchpad("*", number, factor).partition(":")[0].split(",")[1:]
    return [[int(digit) for digit in step] for step in steps]


def test_addition_pads_numbers_and_writes_last_digit_first() -> None:
    for question, written in sums("train"):
        a, b = question.rstrip("=").split("+")
        assert len(a) == len(b) == 3
        assert len(written) == 5
        assert backwards([int(digit) for digit in written.rstrip("\n")]) == int(a) + int(b)


@pytest.mark.parametrize("digits", [1, 2, 9])
def test_addition_has_given_number_of_digits(digits: int) -> None:
    for (question, _), (written, _) in addition("train", 50, 1, digits):
        assert len(question) == 2 * digits + 2
        assert len(written) == digits + 2
        assert final_answer(written) == answer(question)


def test_arithmetic_documents_are_prompt_and_predicted_text() -> None:
    for document in itertools.chain(addition("train", 100, 1), calculator("train", 100, 1)):
        assert [predicted for _, predicted in document] == [False, True]
        assert document[0][0].endswith("=")
        assert document[1][0].endswith("\n")


@pytest.mark.parametrize(
    ("question", "written"),
    [
        ("57+68=", "7851,5621:125"),
        ("57-68=", "-,8710,6510:-11"),
        ("57*68=", "8,756065,540054,6,742574,530483:3876"),
        ("958/41=", "90,5,2,102020,408080,5230,9810,8,3,103030,412021,8350,3210:23r15"),
    ],
)
def test_scratchpad_equals_examples_of_docstring(question: str, written: str) -> None:
    operation, a, b = parse(question)
    assert scratchpad(operation, int(a), int(b)) == written
    assert question + written in (arithmetic.__doc__ or "")


def test_scratchpad_of_sum_follows_from_digits_and_carry() -> None:
    for a, b, steps, result in of("+"):
        carry = 0
        for x, y, digit, after in steps:
            assert 10 * after + digit == x + y + carry
            carry = after
        assert (backwards([s[0] for s in steps]), backwards([s[1] for s in steps])) == (a, b)
        assert backwards([s[2] for s in steps] + [carry]) == int(result)


def test_scratchpad_of_difference_follows_from_digits_and_borrow() -> None:
    for a, b, steps, result in of("-"):
        borrow = 0
        for x, y, digit, after in steps:
            assert digit - 10 * after == x - y - borrow
            borrow = after
        assert borrow == 0
        assert (backwards([s[0] for s in steps]), backwards([s[1] for s in steps])) == (max(a, b), min(a, b))
        assert backwards([s[2] for s in steps]) == abs(int(result))


def test_scratchpad_of_difference_starts_with_sign_of_result() -> None:
    for question, written in problems("train"):
        if "-" in question:
            assert written[:2] == ("-," if int(answer(question)) < 0 else "+,")


def test_scratchpad_of_product_follows_from_digits_carry_and_result() -> None:
    for a, b, steps, result in of("*"):
        places, shift, carry, factor, columns = Counter[int](), -1, 0, 0, []
        for step in [*steps, [0]]:
            if len(step) == 1:  # the next digit of the second number
                if columns:
                    places[shift + len(columns)] += carry
                    assert backwards(columns) == a
                shift, carry, factor, columns = shift + 1, 0, step[0], []
                continue
            x, tens, ones, before, now, after = step
            place = shift + len(columns)
            assert x * factor == 10 * tens + ones
            assert before == places[place]
            assert 10 * after + now == x * factor + before + carry
            places[place], carry = now, after
            columns.append(x)
        assert backwards([step[0] for step in steps if len(step) == 1]) == b
        assert sum(digit * 10**place for place, digit in places.items()) == int(result)


def test_scratchpad_of_division_follows_long_division() -> None:
    for a, b, steps, result in of("/"):
        width = len(str(b))
        rest = dividend = backwards(steps[0])
        quotient = 0
        for i in range(1, len(steps), 2 + 2 * width):
            digit, q = steps[i][0], steps[i + 1][0]
            assert steps[i + 2 : i + 2 + width] == row(b, q)
            before = 10 * rest + digit
            columns = steps[i + 2 + width : i + 2 + 2 * width]
            assert backwards([x for x, *_ in columns]) == before % 10**width
            assert backwards([y for _, y, *_ in columns]) == q * b % 10**width
            borrow = 0
            for x, y, left, after in columns:
                assert left - 10 * after == x - y - borrow
                borrow = after
            rest = backwards([left for _, _, left, _ in columns])
            assert rest == before - q * b
            assert rest < b
            quotient, dividend = 10 * quotient + q, 10 * dividend + digit
        assert dividend == a
        assert f"{quotient}r{rest}" == result


@pytest.mark.parametrize("split", SPLITS)
def test_final_answer_equals_answer_for_each_problem(split: ArithmeticSplit) -> None:
    for question, written in problems(split) + sums(split):
        assert final_answer(written) == answer(question)


def test_answer_equals_python() -> None:
    for question, _ in problems("test"):
        operation, a, b = parse(question)
        if operation == "/":
            assert answer(question) == "r".join(map(str, divmod(int(a), int(b))))
        else:
            assert answer(question) == str(eval(f"{a}{operation}{b}"))


def test_final_answer_returns_none_for_other_text() -> None:
    assert [final_answer(text) for text in ("", "\n", "7851,5621", "7851:", ":-", "5:1:2", ":1r", ":x")] == [None] * 8
    assert final_answer("7851:15\n2+2=") == "15"


@pytest.mark.parametrize("make", [addition, calculator])
def test_arithmetic_splits_share_no_problem_for_any_seed(make) -> None:  # type: ignore[no-untyped-def]
    for seed in (1, 2):
        for split in SPLITS:
            assert {split_of(question) for (question, _), _ in make(split, 3000, seed)} == {split}


@pytest.mark.parametrize(("question", "mirrored"), [("12+345=", "345+12="), ("12*34=", "34*12=")])
def test_split_of_ignores_order_of_operands(question: str, mirrored: str) -> None:
    assert split_of(question) == split_of(mirrored)
    for question, _ in problems("test"):
        operation, a, b = parse(question)
        if operation in "+*":
            assert split_of(f"{b}{operation}{a}=") == "test"


def test_split_of_ignores_leading_zeros() -> None:
    assert all(split_of(f"00{question}") == "test" for question, _ in problems("test")[:200])


@pytest.mark.parametrize("split", ["valid", "test"])
def test_held_out_splits_have_10000_distinct_problems(split: ArithmeticSplit) -> None:
    assert len(set(sums(split))) == 10_000
    assert len(set(problems(split))) == 10_000


def test_addition_ends_if_held_out_split_has_no_more_problems() -> None:
    found = {question for (question, _), _ in addition("test", 10_000, seed=1, digits=2)}
    every = {f"{a:02}+{b:02}=" for a in range(100) for b in range(100)}
    assert found == {question for question in every if split_of(question) == "test"}
    assert 100 < len(found) < 300


@pytest.mark.parametrize("make", [addition, calculator])
@pytest.mark.parametrize("split", SPLITS)
def test_arithmetic_documents_depend_only_on_split_and_seed(make, split: ArithmeticSplit) -> None:  # type: ignore[no-untyped-def]
    first = list(make(split, 2000, 1))
    assert first == list(make(split, 2000, 1))
    assert first[:300] == list(make(split, 300, 1))
    assert first != list(make(split, 2000, 2))
    assert len(first) == 2000


def test_arithmetic_documents_equal_recorded_questions() -> None:
    assert [question for (question, _), _ in addition("train", 3, seed=1)] == ADDITION
    assert [question for (question, _), _ in calculator("train", 4, seed=1)] == CALCULATOR


def test_calculator_balances_operations_and_lengths() -> None:
    operations = Counter(operation_and_digits(question)[0] for question, _ in problems("train"))
    lengths = Counter(operation_and_digits(question) for question, _ in problems("train"))
    assert all(0.23 < operations[operation] / 10_000 < 0.27 for operation in OPERATIONS)
    for operation, (first, second) in MOST_DIGITS.items():
        for a, b in itertools.product(range(1, first + 1), range(1, second + 1)):
            share = lengths[operation, f"{a} and {b} digits"] / operations[operation]
            assert abs(share * first * second - 1) < 0.3, (operation, a, b)


def test_calculator_has_all_digits_and_no_zero_divisor() -> None:
    ones = {question for (question, _), _ in calculator("train", 60_000, 3) if len(question) == 4}
    missing = {f"{a}{operation}{b}=" for a, b in itertools.product(range(10), repeat=2) for operation in OPERATIONS}
    missing -= ones
    assert all(question.endswith("/0=") or split_of(question) != "train" for question in missing)
    assert not any(question.endswith("/0=") for question in ones)


def test_arithmetic_documents_have_known_alphabet() -> None:
    made = [text for split in SPLITS for text in itertools.chain(*problems(split))]
    assert set("".join(made)) == set("\n0123456789+-*/=,:r")
    assert set("".join(itertools.chain(*sums("train")))) == set("\n0123456789+=")


def test_longest_document_has_stated_length() -> None:
    longest = max(len(question) + len(written) for split in SPLITS for question, written in problems(split))
    assert longest == LONGEST
    assert {len(question) + len(written) for question, written in sums("train")} == {13}


def test_arithmetic_rejects_invalid_arguments() -> None:
    with pytest.raises(ValueError, match="addition has no split 'unseen'"):
        addition("unseen", 1, seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="calculator needs n and seed of at least 0, not n=-1"):
        calculator("train", -1, seed=0)
    with pytest.raises(ValueError, match=r"data\.digits is 10; .* numbers of 1 to 9 digits"):
        addition("train", 1, seed=0, digits=10)
    with pytest.raises(ValueError, match="divides by zero"):
        answer("1/0=")
    with pytest.raises(ValueError, match="is not a question"):
        answer("1+2")
