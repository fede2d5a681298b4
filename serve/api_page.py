"""The description of the API as a page for people, at `/docs`."""

import json
import shlex
from html import escape
from typing import Any

from common.page import html_page, html_table


def describe_api(spec: dict[str, Any], url: str) -> str:
    """Return an HTML page for an OpenAPI description; `url` is the address of the server, without / at its end."""
    parts = [
        f"<h1>API of {escape(spec['info']['title'])} {escape(spec['info']['version'])}</h1>",
        f"<p>{escape(spec['info']['description'])} As <a href='openapi.json'>OpenAPI</a>, for programs.</p>",
    ]
    for path, operations in spec["paths"].items():
        methods = ", ".join(method.upper() for method in sorted(operations, reverse=True))
        parts.append(f"<h2>{escape(path)} <small>{methods}</small></h2>")
        parts += _operation(operations.get("post") or operations["get"], url + path)
    return html_page(
        f"API of {spec['info']['title']}", "\n".join(parts), "pre { white-space: pre-wrap; overflow-wrap: anywhere; }"
    )


def _operation(operation: dict[str, Any], url: str) -> list[str]:
    """Return the description of a route, its fields, an example and its errors."""
    parts = [f"<p>{escape(operation['description'])}</p>"]
    bodies = operation.get("requestBody", {}).get("content", {})
    for kind, body in list(bodies.items())[:1]:
        fields, required = body["schema"]["properties"], body["schema"]["required"]
        rows = [
            (name, "yes" if name in required else "no", _type(field), field.get("description", ""))
            for name, field in fields.items()
        ]
        parts.append(html_table(f"Fields, as {_or(list(bodies))}", ("field", "required", "type", "meaning"), rows))
        parts.append(f"<pre><code>{escape(_example(url, kind, fields, required))}</code></pre>")
    answers = operation["responses"]
    kinds = _or(list(answers["200"].get("content", {"application/json": {}})))
    errors = [f"{status} {answer['description']}" for status, answer in answers.items() if status != "200"]
    parts.append(f"<p>Answers {escape(kinds)}.{' Errors:' if errors else ''} {escape('; '.join(errors))}</p>")
    return parts


def _example(url: str, kind: str, fields: dict[str, Any], required: list[str]) -> str:
    """Return a command that sends the required fields."""
    values = {name: fields[name].get("example", "@film.srt") for name in required}
    if kind == "application/json":
        words = ["-H", "Content-Type: application/json", "-d", json.dumps(values)]
    else:
        words = [word for name, value in values.items() for word in ("-F", f"{name}={value}")]
    return shlex.join(["curl", *words, url])


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a field, its values and its default."""
    if "oneOf" in schema:
        return _or([_type(one) for one in schema["oneOf"]])
    name = schema["type"] if "enum" not in schema else _or(schema["enum"])
    if schema["type"] == "array":
        name = f"list of {schema['items']['type']}s" if "items" in schema else "list"
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    default = [f"default {schema['default']}"] if "default" in schema else []
    return ", ".join([" ".join([name, *limits]), *default])


def _or(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
