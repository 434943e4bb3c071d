"""The OpenAPI document, made of what endpoints say of themselves and of what the framework answers for them."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from ingestion_pipeline.intake.endpoints import PERSON, PUBLIC, SCHEDULER, Endpoint, HttpDomain, Schema
from ingestion_pipeline.intake.problems import PROBLEM_SCHEMA
from ingestion_pipeline.intake.uploads import FORM, MULTIPART

OPENAPI_VERSION = "3.1.0"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_INTEGER_HEADER = {"schema": {"type": "integer", "minimum": 0}}
_RATE_HEADERS = {
    "RateLimit-Limit": _INTEGER_HEADER,
    "RateLimit-Remaining": _INTEGER_HEADER,
    "RateLimit-Reset": _INTEGER_HEADER,
}
_RETRY_AFTER = {"Retry-After": _INTEGER_HEADER}
_REFUSALS = {
    400: "The request cannot be read.",
    401: "Credentials are missing, wrong or expired.",
    403: "The caller may not do this, or is a browser.",
    404: "There is nothing at this path.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not plain JSON.",
    422: "The request can be read but is not valid; `errors` names the fields.",
    429: "Too many requests from this address; `Retry-After` says when to come back.",
    503: "A store is away; nothing was done; `Retry-After` says when to try again.",
}
_SECURITY_SCHEMES = {
    "appToken": {"type": "apiKey", "in": "header", "name": "x-app-token"},
    "cronSecret": {"type": "apiKey", "in": "header", "name": "x-cron-secret"},
    "vercelCronSecret": {"type": "apiKey", "in": "header", "name": "x-vercel-cron-secret"},
    "bearer": {"type": "http", "scheme": "bearer"},
}


def openapi(title: str, version: str, description: str, domains: Sequence[HttpDomain]) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    schemas: dict[str, Schema] = {"Problem": PROBLEM_SCHEMA}
    for domain in domains:
        schemas |= domain.schemas
        for endpoint in domain.endpoints:
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": title, "version": version, "description": description},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY_SCHEMES},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    words = endpoint.path.replace("{", "").replace("}", "").replace("-", "_").strip("/").split("/")
    operation: dict[str, Any] = {
        "operationId": "_".join([endpoint.method.lower(), *filter(None, words)]),
        "summary": endpoint.summary,
        "parameters": list(endpoint.parameters),
        "responses": _responses(endpoint),
        "security": _security(endpoint.access),
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.request_schema is not None:
        content: dict[str, Any] = {"schema": endpoint.request_schema}
        if endpoint.examples:
            content["examples"] = {name: {"value": value} for name, value in endpoint.examples.items()}
        operation["requestBody"] = {
            "required": not endpoint.is_body_optional,
            "content": {"application/json": content, **_other_bodies(endpoint)},
        }
    return operation


def _other_bodies(endpoint: Endpoint) -> dict[str, Any]:
    """What an endpoint takes beside JSON: a form, a file in a form, a file."""
    form: Any = {"schema": {"type": "object"}}
    found = {FORM: form} if endpoint.takes_form else {}
    binary = {"type": "string", "format": "binary"}
    file = {"type": "object", "required": ["file"], "properties": {"file": binary}}
    return found | {name: {"schema": file if name == MULTIPART else binary} for name in endpoint.file_types}


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    headers: Mapping[str, Any] = _RATE_HEADERS if endpoint.limit else {}
    responses = {status: _refusal(status, headers) for status in _refusals(endpoint)}
    for status, response in endpoint.responses.items():
        responses[status] = {**responses.get(status, {"headers": headers}), "description": response.description}
        if status < HTTPStatus.BAD_REQUEST or response.schema is not None:
            content = {} if response.schema is None else {"schema": response.schema}
            responses[status]["content"] = {response.content_type: content}
        else:
            responses[status]["content"] = _PROBLEM
    return {str(status): responses[status] for status in sorted(responses)}


def _refusals(endpoint: Endpoint) -> set[int]:
    """The statuses that the framework may answer in the endpoint's place."""
    found = {400, 403, 422, 503}
    if endpoint.access != (PUBLIC,):
        found.add(401)
    if endpoint.request_schema is not None:
        found |= {408, 413, 415}
    if endpoint.limit:
        found.add(429)
    if "{" in endpoint.path:
        found.add(404)
    return found


def _refusal(status: int, headers: Mapping[str, Any]) -> dict[str, Any]:
    more = _RETRY_AFTER if status in (429, 503) else {}
    return {"description": _REFUSALS[status], "headers": {**headers, **more}, "content": _PROBLEM}


def _security(access: tuple[str, ...]) -> list[dict[str, list[str]]]:
    """One alternative a way in; scopes of application tokens stand in the description of the way."""
    if access == (PUBLIC,):
        return []
    ways: list[str] = []
    if set(access) - {PERSON, SCHEDULER, PUBLIC}:
        ways.append("appToken")
    if SCHEDULER in access:
        ways += ["cronSecret", "vercelCronSecret"]
    if {PERSON, SCHEDULER} & set(access):
        ways.append("bearer")
    return [{way: []} for way in ways]
