"""What the server answers to the fields of a request, in LibreTranslate's form."""

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

from evaluate.glossary import Glossary
from evaluate.segmentation.html import HtmlDocument
from evaluate.translator import Translator
from serve.batching import Batcher
from serve.detection import detect
from serve.documents import FORMATS, Document, File
from serve.errors import ApiError, invalid
from serve.explanations import Question, explain_all
from serve.fields import Fields
from serve.limits import MAX_BEAM, MAX_EXPLAINED, Limits
from serve.metrics import Metrics
from serve.models import NAMES, Models
from serve.translation import Format, Job, Sentence, TranslatedText, translate_jobs

Answer = dict[str, Any]


class Service:
    """Answers requests with the loaded models."""

    def __init__(self, models: Models, limits: Limits, keys: Sequence[str] = ()) -> None:
        """Create a service; `keys` are the API keys that clients may give, none if they need no key."""
        self.models = models
        self.limits = limits
        self.keys = [key.encode() for key in keys]
        self.metrics = Metrics(lambda: self.batcher.waiting)
        self.batcher = Batcher(
            translate_jobs, lambda job: job.kind, lambda job: job.characters, limits, self.metrics.count_batch
        )
        self.explainer = Batcher(explain_all, id, lambda question: len(question.text), replace(limits, batch=1))

    def check_key(self, fields: Fields) -> None:
        """Raise ApiError if the client needs a valid API key and has not given one."""
        given = fields.get("api_key") or fields.get("apiKey")
        if not self.keys:
            return
        if not isinstance(given, str):
            raise ApiError(400, "Please contact the server operator to get an API key")
        if not any(hmac.compare_digest(given.encode(), key) for key in self.keys):
            raise ApiError(403, "Invalid API key")

    async def translate(self, fields: Fields) -> Answer:
        """Return the translations of a text or of a list of texts. Raises ApiError or InputError."""
        texts = self._texts(fields)
        target = self.models.language(_word(fields, "target"))
        format = _format(fields)
        alternatives = _alternatives(fields)
        found = self._sources(_word(fields, "source"), texts, format)
        sources, glossary = [source for source, _ in found], _glossary(fields)
        translated = await self._translate(texts, sources, target, format, alternatives, glossary)
        columns: Answer = {"translatedText": [text.texts[0] for text in translated]}
        if alternatives:
            columns["alternatives"] = [list(text.texts[1:]) for text in translated]
        if fields["source"] == "auto":
            columns["detectedLanguage"] = [_detected(*language) for language in found]
        columns["confidence"] = [text.confidence for text in translated]
        return columns if isinstance(fields["q"], list) else {name: column[0] for name, column in columns.items()}

    async def translate_file(self, fields: Fields, file: File) -> File:
        """Return the translation of a file. Raises ApiError or InputError."""
        document = await asyncio.to_thread(Document.parse, file.format, file.text)
        size = document.characters
        if size > self.limits.file_characters:
            raise invalid(f"file ({size}) exceeds text limit ({self.limits.file_characters})")
        target = self.models.language(_word(fields, "target"))
        [(source, _)] = self._sources(_word(fields, "source"), [document.visible], "text")
        model = self.models.find(source, target)
        if model is None:
            return file.translated(file.text, target)
        texts: list[str] = []
        model = await _with_glossary(model, _glossary(fields))
        for number, job in enumerate(document.jobs(model)):
            texts += [text.texts[0] for text in await self.batcher.submit(job, continued=number > 0)]
        self.metrics.count_characters(source, target, size)
        return file.translated(await asyncio.to_thread(document.join, texts), target)

    async def sentences(self, fields: Fields) -> Answer:
        """Return the sentences of a text with all translations of the beam. Raises ApiError or InputError."""
        text, beam = self._text(fields), _beam(fields)
        target = self.models.language(_word(fields, "target"))
        [(source, confidence)] = self._sources(_word(fields, "source"), [text], "text")
        translator = self.models.with_beam(source, target, beam)
        parts: tuple[Sentence | str, ...] = (text,)
        if translator is not None:
            job = Job(translator, (text,), n_best=min(translator.config.beam, MAX_BEAM))
            parts = (await self.batcher.submit(job))[0].parts
            self.metrics.count_characters(source, target, len(text))
        answer: Answer = {"parts": [part if isinstance(part, str) else _sentence(part) for part in parts]}
        return answer | ({"detectedLanguage": _detected(source, confidence)} if fields["source"] == "auto" else {})

    async def explain(self, fields: Fields) -> str:
        """Return a page that shows how a sentence is translated. Raises ApiError or InputError."""
        text, beam = self._text(fields), _beam(fields)
        if len(text) > MAX_EXPLAINED:
            raise invalid(f"the sentence has {len(text)} characters; at most {MAX_EXPLAINED} are explained")
        source, target = (self.models.language(_word(fields, name)) for name in ("source", "target"))
        if self.models.find(source, target) is None:
            raise invalid("source and target are the same language")
        return await self.explainer.submit(Question(self.models, source, target, text, beam))

    def detect(self, fields: Fields) -> list[Answer]:
        """Return the languages that a text may be in, the likeliest first. Raises ApiError."""
        return [_detected(*language) for language in self._detect("\n".join(self._texts(fields)))]

    def languages(self) -> list[Answer]:
        """Return all languages, and to which ones each is translated."""
        return [
            {"code": code, "name": NAMES.get(code, code), "targets": self.models.targets(code)}
            for code in self.models.languages
        ]

    def settings(self) -> Answer:
        """Return what LibreTranslate tells its web page."""
        source, target = next(iter(self.models.directions))
        return {
            "charLimit": self.limits.characters,
            "frontendTimeout": 500,
            "apiKeys": bool(self.keys),
            "keyRequired": bool(self.keys),
            "suggestions": False,
            "filesTranslation": True,
            "supportedFilesFormat": list(FORMATS),
            "fileCharLimit": self.limits.file_characters,
            "detection": any(translator.calibration is not None for translator in self.models.directions.values()),
            "language": {
                name: {"code": code, "name": NAMES.get(code, code)}
                for name, code in (("source", source), ("target", target))
            },
        }

    def _texts(self, fields: Fields) -> list[str]:
        q = fields.get("q")
        if not q:
            raise invalid("missing q parameter")
        texts = q if isinstance(q, list) else [q]
        if not all(isinstance(text, str) for text in texts):
            raise invalid("q must be a text or a list of texts")
        size = sum(map(len, texts))
        if max(size, len(texts)) > self.limits.characters:
            raise invalid(f"request ({max(size, len(texts))}) exceeds text limit ({self.limits.characters})")
        return texts

    def _text(self, fields: Fields) -> str:
        return self._texts({**fields, "q": [_word(fields, "q")]})[0]

    def _sources(self, name: str, texts: list[str], format: Format) -> list[tuple[str, float]]:
        """Return the source language of each text, with its confidence."""
        if name != "auto":
            return [(self.models.language(name), 100.0)] * len(texts)
        return [self._detect(_visible(text) if format == "html" else text)[0] for text in texts]

    def _detect(self, text: str) -> list[tuple[str, float]]:
        found = detect(self.models, text)
        if not found:
            raise ApiError(400, "No model of this server can detect languages. Give the source language.")
        return found

    async def _translate(
        self,
        texts: list[str],
        sources: list[str],
        target: str,
        format: Format,
        alternatives: int,
        glossary: Glossary | None,
    ) -> list[TranslatedText]:
        """Return the translations in order. The texts of each source language are one job."""
        models = {source: self.models.find(source, target) for source in dict.fromkeys(sources)}
        groups = {source: [text for text, s in zip(texts, sources, strict=True) if s == source] for source in models}
        jobs = {
            source: Job(
                await _with_glossary(model, glossary),
                tuple(groups[source]),
                format,
                min(1 + alternatives, model.config.beam),
            )
            for source, model in models.items()
            if model is not None
        }
        found = await asyncio.gather(*map(self.batcher.submit, jobs.values()))
        for source, job in jobs.items():
            self.metrics.count_characters(source, target, job.characters)
        translated = {source: iter(results) for source, results in zip(jobs, found, strict=True)}
        return [
            next(translated[source]) if source in translated else TranslatedText((text,), None)
            for text, source in zip(texts, sources, strict=True)
        ]


def _word(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not value or not isinstance(value, str):
        raise invalid(f"missing {name} parameter")
    return value


def _format(fields: Fields) -> Format:
    value = fields.get("format") or "text"
    for known in get_args(Format):
        if value == known:
            return known
    raise ApiError(400, f"{str(value)[:40]} format is not supported")


def _glossary(fields: Fields) -> Glossary | None:
    """Return the glossary of a request: lines with two columns, or a list of lines or of pairs of terms."""
    value = fields.get("glossary")
    if not value:
        return None
    if isinstance(value, str):
        return Glossary.from_lines(value.split("\n"), "glossary")
    if not isinstance(value, list):
        raise invalid("glossary must be lines with two columns, or a list of pairs of terms")
    if all(isinstance(line, str) for line in value):
        return Glossary.from_lines(value, "glossary")
    return Glossary.from_rows(((f"pair {n}", pair) for n, pair in enumerate(value, 1)), "glossary")


async def _with_glossary(model: Translator, glossary: Glossary | None) -> Translator:
    """Return a model with a glossary. Its requests are not translated together with others."""
    return model if glossary is None else await asyncio.to_thread(model.with_glossary, glossary)


def _alternatives(fields: Fields) -> int:
    try:
        alternatives = int(fields.get("alternatives") or 0)
    except (TypeError, ValueError, OverflowError):
        raise invalid("alternatives parameter is not a number") from None
    if alternatives < 0:
        raise invalid("alternatives parameter is below 0")
    return alternatives


def _beam(fields: Fields) -> int | None:
    value = fields.get("beam")
    if value is None or value == "":
        return None
    if str(value) not in map(str, range(1, MAX_BEAM + 1)):
        raise invalid(f"beam must be from 1 to {MAX_BEAM}")
    return int(value)


def _sentence(sentence: Sentence) -> Answer:
    found = {one.text: one for one in reversed(sentence.translations)}  # of equal texts, the best
    return {
        "source": sentence.source,
        "translations": [
            {"text": one.text, "score": round(one.score, 3), "confidence": one.confidence}
            for one in reversed(found.values())
        ],
    }


def _detected(language: str, confidence: float) -> Answer:
    return {"language": language, "confidence": confidence}


def _visible(document: str) -> str:
    return "\n".join(block.visible for block in HtmlDocument(document).blocks)
