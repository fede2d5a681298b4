"""A service with tiny models in both directions, in float64: other sentences of a batch then change no choice."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import uvicorn

from data_pipeline.tokenizers.sentence_piece import Tokenizer
from evaluate.confidence import Calibration, count_levels
from evaluate.config import DecodeConfig
from evaluate.translator import Translator
from serve.api import create_app
from serve.limits import Limits
from serve.models import Models
from serve.server import address, listen
from serve.service import Service
from tests.tiny_model import TEXT, load_translator

ENGLISH, GERMAN = TEXT[0], TEXT[4]
CONFIG = DecodeConfig(beam=3, max_extra=4)


def calibrate(tokenizer: Tokenizer) -> Calibration:
    """Return a calibration that knows the words of `TEXT`."""
    levels = (
        count_levels(tokenizer.encode([line, line.lower()]), tokenizer.vocab_size)
        for line in (" ".join(TEXT[:3]), " ".join(TEXT[3:]))
    )
    return Calibration(3.0, 1.0, 0.0, *levels)


def swap(calibration: Calibration) -> Calibration:
    """Return the calibration of the other direction."""
    return replace(calibration, source_levels=calibration.target_levels, target_levels=calibration.source_levels)


def make_models(folder: Path) -> Models:
    """Return translators from English to German and back, with a calibration and the same random weights."""
    translator, _ = load_translator(folder, CONFIG, torch.float64)
    tokenizer = Tokenizer(folder / "tokenizer.model")
    calibration = calibrate(tokenizer)
    backward = Translator(translator.backend, tokenizer, CONFIG, "de", "en", swap(calibration))
    models = Models([Translator(translator.backend, tokenizer, CONFIG, "en", "de", calibration), backward])
    models.folders = dict.fromkeys(models.directions, folder)
    return models


def make_service(folder: Path, limits: Limits | None = None, keys: tuple[str, ...] = ()) -> Service:
    """Return a service with the models of `make_models`."""
    return Service(make_models(folder), limits or Limits(), keys)


@contextmanager
def running(service: Service) -> Iterator[str]:
    """Run the server in a thread; yield its address."""
    with listen("127.0.0.1", 0) as sock:
        server = uvicorn.Server(uvicorn.Config(create_app(service, "1"), log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        try:
            yield address(sock)
        finally:
            server.should_exit = True
            thread.join()
