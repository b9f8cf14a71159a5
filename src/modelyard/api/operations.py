"""The words that the API's document is written in: operations, their parameters, what they answer."""

from __future__ import annotations

from typing import Any

from modelyard.api import shapes

Node = dict[str, Any]

_STATUS_WORDS = {
    400: "The request cannot be understood",
    401: "No token, or one that is not valid",
    403: "The caller may not do this",
    404: "There is no such thing, or none that the caller may see",
    409: "The state of things forbids it",
    413: "The body is too long",
    416: "The range is outside of the file",
    422: "The request's values are wrong; `invalid_fields` says which",
    503: "Not now; the same request may succeed later",
    507: "The yard's disk is nearly full",
}


def ref(name: str) -> Node:
    """A reference to a schema of `shapes`."""
    return {"$ref": f"#/components/schemas/{name}"}


def page_of(name: str) -> Node:
    """A page of a list of these."""
    return {
        "type": "object",
        "required": ["next", "previous", "results"],
        "properties": {
            "next": {"type": ["string", "null"], "format": "uri", "description": "Address of the next page"},
            "previous": {"type": ["string", "null"]},
            "results": {"type": "array", "items": ref(name)},
        },
    }


def json(description: str, schema: Node, headers: Node | None = None) -> Node:
    """An answer whose body is JSON."""
    answer: Node = {"description": description, "content": {"application/json": {"schema": schema}}}
    return {**answer, "headers": headers} if headers else answer


def problems(*statuses: int) -> Node:
    """Answers that are problem documents."""
    problem = {"application/problem+json": {"schema": ref("Problem")}}
    return {str(status): {"description": _STATUS_WORDS[status], "content": problem} for status in statuses}


def in_path(*names: str) -> list[Node]:
    """Parameters of a path, with the words of `shapes.PATHS`."""
    return [
        {"name": name, "in": "path", "required": True, "description": shapes.PATHS[name], "schema": {"type": "string"}}
        for name in names
    ]


def in_query(name: str, description: str, **schema: Any) -> Node:
    """A parameter of the query."""
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


def header(name: str, description: str) -> Node:
    """A header of the request."""
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def operation(name: str, summary: str, responses: Node, *parameters: Node, **more: Any) -> Node:
    """One operation; its tag is what its name begins with."""
    tag = name.partition(".")[0]
    operation: Node = {"operationId": name, "summary": summary, "tags": [tag], "responses": responses, **more}
    if parameters:
        operation["parameters"] = list(parameters)
    return operation


def body(schema: Node, kind: str = "application/json") -> Node:
    """The body of a request."""
    return {"required": True, "content": {kind: {"schema": schema}}}
