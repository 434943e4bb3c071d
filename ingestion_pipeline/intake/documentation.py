"""The OpenAPI document as a page to read: plain HTML, everything in it, no script."""

import json
from html import escape
from typing import Any


def documentation(document: dict[str, Any]) -> str:
    """The body of the page; operations in the document's order, schemas unfolded on demand."""
    info = document["info"]
    parts = [f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"]
    parts.append('<p>For machines: <a href="/openapi.json">openapi.json</a></p>')
    for path, operations in document["paths"].items():
        parts += [_operation(path, method, operation) for method, operation in operations.items()]
    schemas = document["components"]["schemas"].items()
    parts.append("<h2>Schemas</h2>")
    parts += [
        f'<details id="{escape(name)}"><summary>{escape(name)}</summary>{_json(schema)}</details>'
        for name, schema in schemas
    ]
    return "".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    identifier = escape(operation["operationId"])
    ways = " or ".join(way for alternative in operation["security"] for way in alternative) or "nobody needs to"
    parts = [
        f'<h2 id="{identifier}"><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h2>',
        f"<p>{escape(operation['summary'])}. {escape(operation.get('description', ''))}</p>",
        f"<p>Authenticate with: {escape(ways)}</p>",
    ]
    if operation["parameters"]:
        rows = "".join(
            f"<tr><td><code>{escape(it['name'])}</code></td><td>{escape(it['in'])}</td>"
            f"<td>{escape(it.get('description', ''))}</td></tr>"
            for it in operation["parameters"]
        )
        parts.append(f"<table><thead><tr><th>Parameter</th><th>In</th><th></th></tr></thead>{rows}</table>")
    if body := operation.get("requestBody"):
        content = body["content"]["application/json"]
        parts.append(f"<details><summary>Body</summary>{_json(content['schema'])}</details>")
        for name, example in content.get("examples", {}).items():
            parts.append(f"<details><summary>Example: {escape(name)}</summary>{_json(example['value'])}</details>")
    answers = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(response['description'])}</td></tr>"
        for status, response in operation["responses"].items()
    )
    parts.append(f"<table><thead><tr><th>Answer</th><th></th></tr></thead>{answers}</table>")
    return "".join(parts)


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
