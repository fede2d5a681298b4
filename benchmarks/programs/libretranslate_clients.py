"""Call a server with a published client of LibreTranslate, and print what the client returns as JSON.

    python libretranslate_clients.py libretranslatepy http://127.0.0.1:5000

It runs in an environment that has the clients, so it imports nothing of paper-transformer.
"""

import importlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

TEXTS = ["Where is the station?", "The cat sleeps."]


class NamedFile(io.BytesIO):
    """A file in memory."""

    name = "text.txt"


def use_libretranslatepy(url: str) -> dict[str, Any]:
    """Return the answers to all methods of libretranslatepy."""
    client = importlib.import_module("libretranslatepy").LibreTranslateAPI(url)
    return {
        "translate": client.translate(TEXTS[0], "en", "de"),
        "detect": client.detect(TEXTS[0]),
        "languages": client.languages(),
    }


def use_deep_translator(url: str) -> dict[str, Any]:
    """Return the answers to LibreTranslator of deep-translator, which needs an API key, and a URL that ends in /."""
    create = importlib.import_module("deep_translator").LibreTranslator
    known, detected = (create(source, "de", api_key="any", custom_url=f"{url}/") for source in ("en", "auto"))
    return {
        "translate": known.translate(TEXTS[0]),
        "translate, source auto": detected.translate(TEXTS[0]),
        "translate_batch": known.translate_batch(TEXTS),
    }


def use_libretranslate_aio(url: str) -> dict[str, Any]:
    """Return the answers to all methods of libretranslate-aio except `suggest`."""
    with importlib.import_module("libretranslate_aio").LibreTranslate(url) as client:
        return {
            "translate": asdict(client.translate(TEXTS[0], "en", "de", alternatives=1)),
            "translate, list, source auto": asdict(client.translate(TEXTS, "auto", "de")),
            "detect": list(map(asdict, client.detect(TEXTS[0]))),
            "languages": list(map(asdict, client.languages())),
            "frontend_settings": asdict(client.frontend_settings()),
            "health": client.health(),
            "translate_file": asdict(client.translate_file(NamedFile(TEXTS[0].encode()), "en", "de")),
        }


CLIENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "libretranslatepy": use_libretranslatepy,
    "deep-translator": use_deep_translator,
    "libretranslate-aio": use_libretranslate_aio,
}

if __name__ == "__main__":
    print(json.dumps(CLIENTS[sys.argv[1]](sys.argv[2])))
