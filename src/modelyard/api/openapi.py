"""The API described for programs: `/openapi.json`. Its operation names are Replicate's, the words are ours."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.api import shapes
from modelyard.api.base import Deps

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


def _ref(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


def _page_of(name: str) -> Node:
    return {
        "type": "object",
        "required": ["next", "previous", "results"],
        "properties": {
            "next": {"type": ["string", "null"], "format": "uri", "description": "Address of the next page"},
            "previous": {"type": ["string", "null"]},
            "results": {"type": "array", "items": _ref(name)},
        },
    }


def _json(description: str, schema: Node, headers: Node | None = None) -> Node:
    answer: Node = {"description": description, "content": {"application/json": {"schema": schema}}}
    return {**answer, "headers": headers} if headers else answer


def _problems(*statuses: int) -> Node:
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    return {str(status): {"description": _STATUS_WORDS[status], "content": problem} for status in statuses}


def _in_path(*names: str) -> list[Node]:
    return [
        {"name": name, "in": "path", "required": True, "description": shapes.PATHS[name], "schema": {"type": "string"}}
        for name in names
    ]


def _in_query(name: str, description: str, **schema: Any) -> Node:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


def _header(name: str, description: str) -> Node:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


_CURSOR = _in_query("cursor", "Where the page begins, from `next` of the page before")
_PREFER = _header("Prefer", "`wait` or `wait=SECONDS` (1 to 60): hold the answer until the prediction has ended")
_CREATE_HEADERS = [
    _PREFER,
    _header("Cancel-After", "End the prediction after this time: `30s`, `5m`, `1h30m`; from 5 s to 24 h"),
    _header("Idempotency-Key", "The same key with the same request gives the same prediction, for a day"),
]
_LOCATION = {"Location": {"description": "Address of what was made", "schema": {"type": "string"}}}


def _operation(name: str, summary: str, responses: Node, *parameters: Node, **more: Any) -> Node:
    tag = name.partition(".")[0]
    operation: Node = {"operationId": name, "summary": summary, "tags": [tag], "responses": responses, **more}
    if parameters:
        operation["parameters"] = list(parameters)
    return operation


def _body(schema: Node, kind: str = "application/json") -> Node:
    return {"required": True, "content": {kind: {"schema": schema}}}


def _created() -> Node:
    answer = _json("Accepted; with `Prefer: wait`, as it is now", _ref("Prediction"), _LOCATION)
    answer["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return {"201": answer, **_problems(400, 401, 404, 413, 422, 507)}


def _account_paths() -> Node:
    return {
        "/account": {
            "get": _operation(
                "account.get",
                "The account of the token",
                {"200": _json("The account", _ref("Account")), **_problems(401)},
            )
        },
        "/login-links": {
            "post": _operation(
                "login_links.create",
                "An address that signs one browser in as the caller, once",
                {"201": _json("The address", _ref("LoginLink")), **_problems(401)},
            )
        },
        "/hardware": {
            "get": _operation(
                "hardware.list",
                "The hardware that models may ask for",
                {"200": _json("Skus and names", {"type": "array", "items": _ref("Hardware")}), **_problems(401)},
            )
        },
        "/webhooks/default/secret": {
            "get": _operation(
                "webhooks.default.secret.get",
                "What signs the account's webhooks",
                {"200": _json("The secret", _ref("WebhookSecret")), **_problems(401)},
            )
        },
    }


def _model_paths() -> Node:
    model = _in_path("owner", "name")
    sorts = ["model_created_at", "latest_version_created_at"]
    return {
        "/models": {
            "get": _operation(
                "models.list",
                "Public models and one's own",
                {"200": _json("A page", _page_of("Model")), **_problems(400, 401)},
                _in_query("sort_by", "What to sort by", enum=sorts, default=sorts[1]),
                _in_query("sort_direction", "Which way", enum=["asc", "desc"], default="desc"),
                _CURSOR,
            ),
            "post": _operation(
                "models.create",
                "Make a model without versions",
                {"201": _json("The model", _ref("Model"), _LOCATION), **_problems(400, 401, 413)},
                requestBody=_body(_ref("ModelCreation")),
            ),
        },
        "/models/{owner}/{name}": {
            "get": _operation(
                "models.get", "A model", {"200": _json("The model", _ref("Model")), **_problems(401, 404)}, *model
            ),
            "patch": _operation(
                "models.update",
                "Change what describes a model",
                {"200": _json("The model", _ref("Model")), **_problems(400, 401, 403, 404, 413)},
                *model,
                requestBody=_body(_ref("ModelUpdate")),
            ),
            "delete": _operation(
                "models.delete",
                "Delete a private model without versions",
                {"204": {"description": "Deleted"}, **_problems(401, 403, 404)},
                *model,
            ),
        },
    }


def _secret_paths() -> Node:
    return {
        "/models/{owner}/{name}/secrets": {
            "get": _operation(
                "models.secrets.list",
                "The names of a model's secrets, for its owner",
                {"200": _json("A page", _page_of("ModelSecret")), **_problems(401, 403, 404)},
                *_in_path("owner", "name"),
            )
        },
        "/models/{owner}/{name}/secrets/{secret}": {
            "put": _operation(
                "models.secrets.set",
                "Set or replace a secret of a model",
                {"200": _json("Its name", _ref("ModelSecret")), **_problems(400, 401, 403, 404, 409, 413, 422)},
                *_in_path("owner", "name", "secret"),
                requestBody=_body(_ref("ModelSecretValue")),
            ),
            "delete": _operation(
                "models.secrets.delete",
                "Take a secret away",
                {"204": {"description": "Deleted"}, **_problems(401, 403, 404)},
                *_in_path("owner", "name", "secret"),
            ),
        },
    }


def _version_paths() -> Node:
    model = _in_path("owner", "name")
    version = _in_path("owner", "name", "version_id")
    return {
        "/models/{owner}/{name}/readme": {
            "get": _operation(
                "models.readme.get",
                "A model's README, as Markdown",
                {
                    "200": {"description": "The text", "content": {"text/plain": {"schema": {"type": "string"}}}},
                    **_problems(401, 404),
                },
                *model,
            )
        },
        "/models/{owner}/{name}/versions": {
            "get": _operation(
                "models.versions.list",
                "Versions of a model, newest first",
                {"200": _json("A page", _page_of("Version")), **_problems(400, 401, 404)},
                *model,
                _CURSOR,
            )
        },
        "/models/{owner}/{name}/versions/{version_id}": {
            "get": _operation(
                "models.versions.get",
                "A version",
                {"200": _json("The version", _ref("Version")), **_problems(401, 404)},
                *version,
            ),
            "delete": _operation(
                "models.versions.delete",
                "Delete a version of a private model",
                {"202": {"description": "Deleted"}, **_problems(401, 403, 404, 409)},
                *version,
            ),
        },
    }


def _prediction_paths() -> Node:
    return {
        "/predictions": {
            "post": _operation(
                "predictions.create",
                "Run a version",
                _created(),
                *_CREATE_HEADERS,
                requestBody=_body(_ref("PredictionCreation")),
            ),
            "get": _operation(
                "predictions.list",
                "The account's predictions, newest first",
                {"200": _json("A page", _page_of("Prediction")), **_problems(400, 401, 404)},
                _in_query("status", "In this status; repeat it for several", enum=shapes.STATUSES),
                _in_query("model", "Of this model: `owner/name`"),
                _in_query("version", "Of this version"),
                _in_query("created_after", "Made at this time or later", format="date-time"),
                _in_query("created_before", "Made before this time", format="date-time"),
                _in_query("source", "Made through the API or the site", enum=["api", "web"]),
                _CURSOR,
            ),
        },
        "/models/{owner}/{name}/predictions": {
            "post": _operation(
                "models.predictions.create",
                "Run a model's latest version",
                _created(),
                *_in_path("owner", "name"),
                *_CREATE_HEADERS,
                requestBody=_body(_ref("ModelPredictionCreation")),
            )
        },
    }


def _one_prediction_paths() -> Node:
    one = _in_path("prediction_id")
    sse = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "/predictions/{prediction_id}": {
            "get": _operation(
                "predictions.get",
                "A prediction as it is now",
                {"200": _json("The prediction", _ref("Prediction")), **_problems(401, 404)},
                *one,
                _PREFER,
            ),
            "delete": _operation(
                "predictions.delete",
                "Delete a prediction that has ended, with its output files",
                {"204": {"description": "Deleted"}, **_problems(401, 404, 409)},
                *one,
            ),
        },
        "/predictions/{prediction_id}/cancel": {
            "post": _operation(
                "predictions.cancel",
                "Stop a prediction; one that has ended stays as it is",
                {"200": _json("The prediction", _ref("Prediction")), **_problems(401, 404)},
                *one,
            )
        },
        "/streams/{token}": {
            "get": _operation(
                "predictions.stream",
                "What a prediction says, while it says it; the token is the permission",
                {
                    "200": {"description": "Events output, logs, error, done", "content": sse},
                    "204": {"description": "Its end has been seen"},
                    **_problems(404),
                },
                *_in_path("token"),
                _header("Last-Event-ID", "Begin after this event"),
                security=[],
            )
        },
    }


def _file_paths() -> Node:
    one = _in_path("file_id")
    blob = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "/files": {
            "post": _operation(
                "files.create",
                "Upload a file, to use its `urls.get` as an input",
                {"201": _json("The file", _ref("File"), _LOCATION), **_problems(400, 401, 413, 507)},
                requestBody=_body(_ref("FileCreation"), "multipart/form-data"),
            ),
            "get": _operation(
                "files.list",
                "The account's files, newest first",
                {"200": _json("A page", _page_of("File")), **_problems(400, 401)},
                _CURSOR,
            ),
        },
        "/files/{file_id}": {
            "get": _operation(
                "files.get",
                "What is known of a file",
                {"200": _json("The file", _ref("File")), **_problems(401, 404)},
                *one,
            ),
            "delete": _operation(
                "files.delete", "Delete a file", {"204": {"description": "Deleted"}, **_problems(401, 404)}, *one
            ),
        },
        "/files/{file_id}/download": {
            "get": _operation(
                "files.download",
                "A file's bytes, for whoever has the signature",
                {
                    "200": {"description": "The bytes", "content": blob},
                    "206": {"description": "A range of the bytes", "content": blob},
                    **_problems(404, 416),
                },
                *one,
                {**_in_query("owner", "Username of its owner"), "required": True},
                {**_in_query("expiry", "Until when, in seconds since 1970"), "required": True},
                {**_in_query("signature", "Base64 of an HMAC-SHA256 of `OWNER ID EXPIRY`"), "required": True},
                security=[],
            )
        },
    }


def _yard_paths() -> Node:
    one = _in_path("instance_id")
    texts = {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "text/event-stream")}
    return {
        "/yard": {
            "get": _operation(
                "yard.get",
                "Is the yard well; for its operator also what waits, and how much there is",
                {"200": _json("The yard", _ref("Yard")), **_problems(401)},
            )
        },
        "/instances": {
            "get": _operation(
                "instances.list",
                "Instances of one's models; for the operator all",
                {"200": _json("A page", _page_of("Instance")), **_problems(400, 401)},
                _in_query("ended", "Also the last that have ended", enum=["true", "false"]),
            )
        },
        "/instances/{instance_id}": {
            "get": _operation(
                "instances.get",
                "An instance",
                {"200": _json("The instance", _ref("Instance")), **_problems(401, 404)},
                *one,
            )
        },
        "/instances/{instance_id}/logs": {
            "get": _operation(
                "instances.logs",
                "What an instance says outside of predictions: what there is, or as events also what comes",
                {"200": {"description": "Text, or events logs and done", "content": texts}, **_problems(400, 401, 404)},
                *one,
                _in_query("tail", "Begin with this many last lines", pattern="^[0-9]{1,6}$"),
                _header("Last-Event-ID", "Begin after this event"),
            )
        },
        "/yard/prune": {
            "post": _operation(
                "yard.prune",
                "Remove what is old or unused, or say what would go; for the yard's owner",
                {"200": _json("What went, or would go", _ref("PruneReport")), **_problems(400, 401, 403, 413, 422)},
                requestBody=_body(_ref("Prune")),
            )
        },
    }


def document(server: str) -> Node:
    """The OpenAPI document of this API at `server` (an origin)."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Modelyard",
            "version": "1",
            "description": "Run machine-learning models. Clients of Replicate's API v1 work against it unchanged.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": f"{server}/v1"}],
        "security": [{"token": []}],
        "paths": {
            **_account_paths(),
            **_model_paths(),
            **_version_paths(),
            **_secret_paths(),
            **_prediction_paths(),
            **_one_prediction_paths(),
            **_file_paths(),
            **_yard_paths(),
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": shapes.SCHEMAS,
        },
    }


async def get(deps: Deps, request: Request) -> Response:
    """`GET /openapi.json`."""
    return rest.json_response(document(deps.addresses.origin(request.scope)))
