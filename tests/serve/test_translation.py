"""Texts of several requests are translated together, each as alone."""

from itertools import chain
from pathlib import Path

import pytest

from serve.models import Models
from serve.translation import Job, translate_jobs
from tests.serve.small_service import make_models
from tests.tiny_model import TEXT


@pytest.fixture(scope="module")
def models(folder: Path) -> Models:
    return make_models(folder)


def test_texts_of_several_jobs_are_translated_as_alone(models: Models) -> None:
    translator = models.directions["en", "de"]
    jobs = [
        Job(translator, (TEXT[0],), n_best=2),
        Job(translator, (f"{TEXT[1]} {TEXT[2]}\n\n42\n{TEXT[0]}", TEXT[1]), n_best=2),
        Job(translator, (f"<p>{TEXT[2]}</p>", "", "<b>{name}</b> sees it."), "html", n_best=2),
    ]
    together, alone = translate_jobs(jobs), [translate_jobs([job])[0] for job in jobs]
    for found, expected in zip(chain(*together), chain(*alone), strict=True):
        assert (found.texts, found.confidence) == (expected.texts, expected.confidence)


def test_text_keeps_line_ends_and_white_space(models: Models) -> None:
    translator = models.directions["en", "de"]
    text = f"  {TEXT[0]}\r\n\r\n\t{TEXT[1]} \n42\r"
    [[found]] = translate_jobs([Job(translator, (text,))])
    one, two = translator([TEXT[0], TEXT[1]])
    assert found.texts[0] == f"  {one}\r\n\r\n\t{two} \n42\r"


def test_html_keeps_tags_and_script(models: Models) -> None:
    document = "<div class=x><p>The cat.</p><script>a < b</script></div>"
    [[found]] = translate_jobs([Job(models.directions["en", "de"], (document,), "html")])
    assert found.texts[0].startswith("<div class=x><p>")
    assert found.texts[0].endswith("</p><script>a < b</script></div>")


def test_confidence_is_that_of_the_worst_line(models: Models) -> None:
    translator = models.directions["en", "de"]
    [[both, one, two, none]] = translate_jobs([Job(translator, (f"{TEXT[0]}\n{TEXT[1]}", TEXT[0], TEXT[1], "42"))])
    assert one.confidence is not None
    assert two.confidence is not None
    assert both.confidence == min(one.confidence, two.confidence)
    assert none.confidence is None
