"""docs/learn/questions.md: its code prints what the page shows, and each answer has a measurement or a line of code."""

import re

import pytest

from docs.learn.run import FOLDER, examples, run_page

PAGE = FOLDER / "questions.md"


def test_questions_print_what_page_shows() -> None:
    for example, printed in run_page(PAGE.read_text(encoding="utf-8"), PAGE, {}):
        if example.output is not None:
            assert printed.rstrip("\n") == example.output.rstrip("\n"), f"{PAGE.name}, line {example.line}"


@pytest.mark.parametrize("number", range(1, 21))
def test_question_has_code_and_output(number: int) -> None:
    answers = re.split(r"^## (?=\d+\. )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(answers) == 20
    answer = answers[number - 1]
    assert answer.startswith(f"{number}. ")
    assert answer.splitlines()[0].endswith("?")
    assert all(example.output is not None and example.exact for example in examples(answer))
    assert len(examples(answer)) == 1
    assert re.search(r"\]\(\.\./\.\./\w+/[\w/]+\.(py|yaml)\)", answer), "no line of code"
