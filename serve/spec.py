"""The description of the API that `/spec` and `/openapi.json` add to the names of the routes."""

from typing import Any

from serve.documents import MEDIA_TYPES
from serve.limits import MAX_BEAM

DESCRIPTION = (
    "Translation with the API of LibreTranslate. The field confidence is an addition: the expected chrF2 of a "
    "translation, divided by 100."
)
_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_KEY = {"type": "string", "description": "API key, if the server needs one; also accepted as apiKey"}
_Q_TYPES = {"oneOf": [_TEXT, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_Q = {"q": {**_Q_TYPES, "description": "Text, or a list of texts", "example": "The cat sees the house."}}
_TRANSLATE = {
    **_Q,
    "source": {**_TEXT, "description": "Source language, or auto", "example": "en"},
    "target": {**_TEXT, "description": "Target language", "example": "de"},
    "format": {
        "type": "string",
        "enum": ["text", "html"],
        "default": "text",
        "description": "Plain text, or HTML whose tags are kept",
    },
    "alternatives": {"type": "integer", "minimum": 0, "default": 0, "description": "Number of other translations"},
    "glossary": {
        "oneOf": [{"type": "string"}, {"type": "array"}],
        "description": "Terms: lines with source term, tab, target term; or a list of such lines or of pairs",
    },
    "api_key": _KEY,
}
_DETECTED = {
    "type": "object",
    "properties": {"language": {"type": "string"}, "confidence": {"type": "number", "minimum": 0, "maximum": 100}},
}
_DETECTIONS = {"type": "array", "items": _DETECTED}
_TRANSLATED = {
    "type": "object",
    "required": ["translatedText", "confidence"],
    "properties": {
        "translatedText": _TEXTS,
        "alternatives": {"type": "array", "description": "A list of texts; for a list of texts, a list for each"},
        "detectedLanguage": {"oneOf": [_DETECTED, _DETECTIONS], "description": "Only for the source auto"},
        "confidence": {"description": "Number from 0 to 1 or null; for a list of texts, a list"},
    },
}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_PROBLEMS = {
    400: "Invalid request", 403: "Invalid API key", 404: "There is no such file", 408: "The request came too slowly",
    413: "The body is too large", 429: "Too many requests are waiting", 500: "The server failed",
    503: "The translation took too long",
}  # fmt: skip
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": problem, "content": {"application/json": {"schema": _ERROR}}}
    for status, problem in _PROBLEMS.items()
}


def _operation(fields: dict[str, Any], required: list[str], answer: dict[str, Any], in_query: bool) -> dict[str, Any]:
    """Return what OpenAPI says about the request and the answer of a route."""
    answers = {"200": {"description": "Answer", "content": {"application/json": {"schema": answer}}}}
    if in_query:
        parameters = [
            {"in": "query", "name": name, "required": name in required, "schema": schema}
            for name, schema in fields.items()
        ]
        return {"parameters": parameters, "responses": answers}
    schema = {"type": "object", "required": required, "properties": fields}
    kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
    return {"requestBody": {"content": {kind: {"schema": schema} for kind in kinds}}, "responses": answers}


TRANSLATE, TRANSLATE_QUERY = (
    _operation(_TRANSLATE, ["q", "source", "target"], _TRANSLATED, in_query) for in_query in (False, True)
)
DETECT, DETECT_QUERY = (_operation({**_Q, "api_key": _KEY}, ["q"], _DETECTIONS, in_query) for in_query in (False, True))

TRANSLATE_FILE = _operation(
    {
        "file": {"type": "string", "format": "binary", "description": "File: .txt, .srt or .html, in UTF-8"},
        **{name: _TRANSLATE[name] for name in ("source", "target", "glossary", "api_key")},
    },
    ["file", "source", "target"],
    {"type": "object", "required": ["translatedFileUrl"], "properties": {"translatedFileUrl": {"type": "string"}}},
    in_query=False,
)
TRANSLATE_FILE["requestBody"]["content"] = {
    kind: schema for kind, schema in TRANSLATE_FILE["requestBody"]["content"].items() if kind == "multipart/form-data"
}
DOWNLOAD = {"responses": {"200": {"description": "Translated file", "content": {
    kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES.values()
}}}}  # fmt: skip

_SENTENCE = {key: value for key, value in _TRANSLATE.items() if key in ("source", "target", "api_key")} | {
    "q": {"type": "string", "description": "Text", "example": "The cat sees the house."},
    "beam": {"type": "integer", "minimum": 1, "maximum": MAX_BEAM, "description": "Beam; by default that of the model"},
}
_PARTS = {
    "type": "array",
    "description": "Copied text as strings, and sentences as objects",
    "items": {
        "oneOf": [
            {"type": "string"},
            {
                "type": "object",
                "required": ["source", "translations"],
                "properties": {
                    "source": {"type": "string"},
                    "translations": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["text", "score", "confidence"],
                            "properties": {
                                "text": {"type": "string"},
                                "score": {"type": "number"},
                                "confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                            },
                        },
                    },
                },
            },
        ]
    },
}
SENTENCES = _operation(
    _SENTENCE,
    ["q", "source", "target"],
    {"type": "object", "required": ["parts"], "properties": {"parts": _PARTS, "detectedLanguage": _DETECTED}},
    in_query=False,
)
EXPLAIN = _operation(_SENTENCE, ["q", "source", "target"], {}, in_query=False)
EXPLAIN["responses"]["200"]["content"] = {"text/html": {"schema": {"type": "string"}}}
