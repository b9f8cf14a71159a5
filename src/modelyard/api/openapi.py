"""The API described for programs: `/openapi.json`. Its operation names are Replicate's, the words are ours."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from modelyard import rest
from modelyard.api import shapes
from modelyard.api.base import Deps
from modelyard.api.operations import Node, body, header, in_path, in_query, json, operation, page_of, problems, ref

_CURSOR = in_query("cursor", "Where the page begins, from `next` of the page before")
_PREFER = header("Prefer", "`wait` or `wait=SECONDS` (1 to 60): hold the answer until the prediction has ended")
_CREATE_HEADERS = [
    _PREFER,
    header("Cancel-After", "End the prediction after this time: `30s`, `5m`, `1h30m`; from 5 s to 24 h"),
    header("Idempotency-Key", "The same key with the same request gives the same prediction, for a day"),
]
_BYTES: Node = {"schema": {"type": "string", "format": "binary"}}
_LOCATION = {"Location": {"description": "Address of what was made", "schema": {"type": "string"}}}


def _created() -> Node:
    answer = json("Accepted; with `Prefer: wait`, as it is now", ref("Prediction"), _LOCATION)
    answer["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    return {"201": answer, **problems(400, 401, 404, 413, 422, 507)}


def _account_paths() -> Node:
    return {
        "/account": {
            "get": operation(
                "account.get",
                "The account of the token",
                {"200": json("The account", ref("Account")), **problems(401)},
            )
        },
        "/login-links": {
            "post": operation(
                "login_links.create",
                "An address that signs one browser in as the caller, once",
                {"201": json("The address", ref("LoginLink")), **problems(401)},
            )
        },
        "/hardware": {
            "get": operation(
                "hardware.list",
                "The hardware that models may ask for",
                {"200": json("Skus and names", {"type": "array", "items": ref("Hardware")}), **problems(401)},
            )
        },
        "/webhooks/default/secret": {
            "get": operation(
                "webhooks.default.secret.get",
                "What signs the account's webhooks",
                {"200": json("The secret", ref("WebhookSecret")), **problems(401)},
            )
        },
    }


def _model_paths() -> Node:
    model = in_path("owner", "name")
    sorts = ["model_created_at", "latest_version_created_at"]
    return {
        "/models": {
            "get": operation(
                "models.list",
                "Public models and one's own",
                {"200": json("A page", page_of("Model")), **problems(400, 401)},
                in_query("sort_by", "What to sort by", enum=sorts, default=sorts[1]),
                in_query("sort_direction", "Which way", enum=["asc", "desc"], default="desc"),
                _CURSOR,
            ),
            "post": operation(
                "models.create",
                "Make a model without versions",
                {"201": json("The model", ref("Model"), _LOCATION), **problems(400, 401, 413)},
                requestBody=body(ref("ModelCreation")),
            ),
        },
        "/models/{owner}/{name}": {
            "get": operation(
                "models.get", "A model", {"200": json("The model", ref("Model")), **problems(401, 404)}, *model
            ),
            "patch": operation(
                "models.update",
                "Change what describes a model",
                {"200": json("The model", ref("Model")), **problems(400, 401, 403, 404, 413)},
                *model,
                requestBody=body(ref("ModelUpdate")),
            ),
            "delete": operation(
                "models.delete",
                "Delete a private model without versions",
                {"204": {"description": "Deleted"}, **problems(401, 403, 404)},
                *model,
            ),
        },
    }


def _secret_paths() -> Node:
    return {
        "/models/{owner}/{name}/secrets": {
            "get": operation(
                "models.secrets.list",
                "The names of a model's secrets, for its owner",
                {"200": json("A page", page_of("ModelSecret")), **problems(401, 403, 404)},
                *in_path("owner", "name"),
            )
        },
        "/models/{owner}/{name}/secrets/{secret}": {
            "put": operation(
                "models.secrets.set",
                "Set or replace a secret of a model",
                {"200": json("Its name", ref("ModelSecret")), **problems(400, 401, 403, 404, 409, 413, 422)},
                *in_path("owner", "name", "secret"),
                requestBody=body(ref("ModelSecretValue")),
            ),
            "delete": operation(
                "models.secrets.delete",
                "Take a secret away",
                {"204": {"description": "Deleted"}, **problems(401, 403, 404)},
                *in_path("owner", "name", "secret"),
            ),
        },
    }


def _version_paths() -> Node:
    model = in_path("owner", "name")
    version = in_path("owner", "name", "version_id")
    return {
        "/models/{owner}/{name}/readme": {
            "get": operation(
                "models.readme.get",
                "A model's README, as Markdown",
                {
                    "200": {"description": "The text", "content": {"text/plain": {"schema": {"type": "string"}}}},
                    **problems(401, 404),
                },
                *model,
            )
        },
        "/models/{owner}/{name}/versions": {
            "get": operation(
                "models.versions.list",
                "Versions of a model, newest first",
                {"200": json("A page", page_of("Version")), **problems(400, 401, 404)},
                *model,
                _CURSOR,
            )
        },
        "/models/{owner}/{name}/versions/{version_id}": {
            "get": operation(
                "models.versions.get",
                "A version",
                {"200": json("The version", ref("Version")), **problems(401, 404)},
                *version,
            ),
            "delete": operation(
                "models.versions.delete",
                "Delete a version of a private model",
                {"202": {"description": "Deleted"}, **problems(401, 403, 404, 409)},
                *version,
            ),
        },
    }


def _prediction_paths() -> Node:
    return {
        "/predictions": {
            "post": operation(
                "predictions.create",
                "Run a version",
                _created(),
                *_CREATE_HEADERS,
                requestBody=body(ref("PredictionCreation")),
            ),
            "get": operation(
                "predictions.list",
                "The account's predictions, newest first",
                {"200": json("A page", page_of("Prediction")), **problems(400, 401, 404)},
                in_query("status", "In this status; repeat it for several", enum=shapes.STATUSES),
                in_query("model", "Of this model: `owner/name`"),
                in_query("version", "Of this version"),
                in_query("created_after", "Made at this time or later", format="date-time"),
                in_query("created_before", "Made before this time", format="date-time"),
                in_query("source", "Made through the API or the site", enum=["api", "web"]),
                _CURSOR,
            ),
        },
        "/models/{owner}/{name}/predictions": {
            "post": operation(
                "models.predictions.create",
                "Run a model's latest version",
                _created(),
                *in_path("owner", "name"),
                *_CREATE_HEADERS,
                requestBody=body(ref("ModelPredictionCreation")),
            )
        },
    }


def _one_prediction_paths() -> Node:
    one = in_path("prediction_id")
    sse = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "/predictions/{prediction_id}": {
            "get": operation(
                "predictions.get",
                "A prediction as it is now",
                {"200": json("The prediction", ref("Prediction")), **problems(401, 404)},
                *one,
                _PREFER,
            ),
            "delete": operation(
                "predictions.delete",
                "Delete a prediction that has ended, with its output files",
                {"204": {"description": "Deleted"}, **problems(401, 404, 409)},
                *one,
            ),
        },
        "/predictions/{prediction_id}/cancel": {
            "post": operation(
                "predictions.cancel",
                "Stop a prediction; one that has ended stays as it is",
                {"200": json("The prediction", ref("Prediction")), **problems(401, 404)},
                *one,
            )
        },
        "/streams/{token}": {
            "get": operation(
                "predictions.stream",
                "What a prediction says, while it says it; the token is the permission",
                {
                    "200": {"description": "Events output, logs, error, done", "content": sse},
                    "204": {"description": "Its end has been seen"},
                    **problems(404),
                },
                *in_path("token"),
                header("Last-Event-ID", "Begin after this event"),
                security=[],
            )
        },
    }


def _file_paths() -> Node:
    one = in_path("file_id")
    blob = {"application/octet-stream": _BYTES}
    return {
        "/files": {
            "post": operation(
                "files.create",
                "Upload a file, to use its `urls.get` as an input",
                {"201": json("The file", ref("File"), _LOCATION), **problems(400, 401, 413, 507)},
                requestBody=body(ref("FileCreation"), "multipart/form-data"),
            ),
            "get": operation(
                "files.list",
                "The account's files, newest first",
                {"200": json("A page", page_of("File")), **problems(400, 401)},
                _CURSOR,
            ),
        },
        "/files/{file_id}": {
            "get": operation(
                "files.get",
                "What is known of a file",
                {"200": json("The file", ref("File")), **problems(401, 404)},
                *one,
            ),
            "delete": operation(
                "files.delete", "Delete a file", {"204": {"description": "Deleted"}, **problems(401, 404)}, *one
            ),
        },
        "/files/{file_id}/download": {
            "get": operation(
                "files.download",
                "A file's bytes, for whoever has the signature",
                {
                    "200": {"description": "The bytes", "content": blob},
                    "206": {"description": "A range of the bytes", "content": blob},
                    **problems(404, 416),
                },
                *one,
                {**in_query("owner", "Username of its owner"), "required": True},
                {**in_query("expiry", "Until when, in seconds since 1970"), "required": True},
                {**in_query("signature", "Base64 of an HMAC-SHA256 of `OWNER ID EXPIRY`"), "required": True},
                security=[],
            )
        },
    }


def _yard_paths() -> Node:
    one = in_path("instance_id")
    texts = {kind: {"schema": {"type": "string"}} for kind in ("text/plain", "text/event-stream")}
    return {
        "/yard": {
            "get": operation(
                "yard.get",
                "Is the yard well; for its operator also what waits, and how much there is",
                {"200": json("The yard", ref("Yard")), **problems(401)},
            )
        },
        "/yard/backup": {
            "post": operation(
                "yard.backup",
                "The whole yard in one file, for its operator: a tar that is cut off where it could not be made whole",
                {"200": {"description": "The backup", "content": {"application/x-tar": _BYTES}}, **problems(401, 403)},
            )
        },
        "/instances": {
            "get": operation(
                "instances.list",
                "Instances of one's models; for the operator all",
                {"200": json("A page", page_of("Instance")), **problems(400, 401)},
                in_query("ended", "Also the last that have ended", enum=["true", "false"]),
            )
        },
        "/instances/{instance_id}": {
            "get": operation(
                "instances.get",
                "An instance",
                {"200": json("The instance", ref("Instance")), **problems(401, 404)},
                *one,
            )
        },
        "/instances/{instance_id}/logs": {
            "get": operation(
                "instances.logs",
                "What an instance says outside of predictions: what there is, or as events also what comes",
                {"200": {"description": "Text, or events logs and done", "content": texts}, **problems(400, 401, 404)},
                *one,
                in_query("tail", "Begin with this many last lines", pattern="^[0-9]{1,6}$"),
                header("Last-Event-ID", "Begin after this event"),
            )
        },
    }


def _upkeep_paths() -> Node:
    return {
        "/yard/prune": {
            "post": operation(
                "yard.prune",
                "Remove what is old or unused, or say what would go; for the yard's owner",
                {"200": json("What went, or would go", ref("PruneReport")), **problems(400, 401, 403, 413, 422)},
                requestBody=body(ref("Prune")),
            )
        },
        "/yard/check": {
            "post": operation(
                "yard.check",
                "Look whether what the registry keeps is whole, and mend it; for the yard's owner",
                {"200": json("What was seen", ref("StoreCheck")), **problems(400, 401, 403, 413, 422)},
                requestBody=body(ref("StoreCheckWish")),
            )
        },
        "/yard/images": {
            "get": operation(
                "yard.images",
                "What versions and weights take on the disk, and share; for the yard's owner",
                {"200": json("Every one of them", ref("StoredImages")), **problems(401, 403)},
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
            **_upkeep_paths(),
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": shapes.SCHEMAS,
        },
    }


async def get(deps: Deps, request: Request) -> Response:
    """`GET /openapi.json`."""
    return rest.json_response(document(deps.addresses.origin(request.scope)))
