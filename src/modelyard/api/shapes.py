"""The objects of the API as JSON Schema, and what its path parameters mean."""

from __future__ import annotations

from typing import Any

from modelyard.api.validation import EVENTS

Node = dict[str, Any]

PATHS = {
    "owner": "Username of a model's owner",
    "name": "Name of a model",
    "version_id": "Id of a version: 64 hexadecimal digits",
    "prediction_id": "Id of a prediction: 26 characters",
    "instance_id": "Id of an instance: 26 characters",
    "file_id": "Id of a file: 26 characters",
    "secret": "Name of a secret: that of an environment variable",
    "token": "The last part of a prediction's `urls.stream`",
}

_TEXT: Node = {"type": "string"}
_NULLABLE_TEXT: Node = {"type": ["string", "null"]}
_TIME: Node = {"type": "string", "format": "date-time"}
_URL: Node = {"type": "string", "format": "uri"}
_MAP: Node = {"type": "object", "additionalProperties": True}
_COUNTS: Node = {"type": "object", "additionalProperties": {"type": "integer"}}
_NULLABLE_TEXTS = ("description", "github_url", "paper_url", "license_url", "weights_url", "cover_image_url")
STATUSES = ["starting", "processing", "succeeded", "failed", "canceled", "aborted"]


def _object(required: list[str], **properties: Node) -> Node:
    return {"type": "object", "required": required, "properties": properties}


def _ref(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


_RUN: dict[str, Node] = {
    "input": {**_MAP, "description": "The model's inputs by name"},
    "webhook": {"type": ["string", "null"], "format": "uri", "description": "Told what happens, by POST"},
    "webhook_events_filter": {"type": ["array", "null"], "items": {"type": "string", "enum": list(EVENTS)}},
    "stream": {"type": ["boolean", "null"], "deprecated": True, "description": "Ignored: every prediction streams"},
    "webhook_completed": {"type": ["string", "null"], "deprecated": True, "description": "An older name of `webhook`"},
}

SCHEMAS: dict[str, Node] = {
    "Problem": _object(
        ["title", "detail", "status"],
        title=_TEXT,
        detail=_TEXT,
        status={"type": "integer"},
        hint=_TEXT,
        invalid_fields={
            "type": "array",
            "items": _object(["type", "field", "description"], type=_TEXT, field=_TEXT, description=_TEXT),
        },
        errors={"type": "array", "items": _object(["pointer", "detail"], pointer=_TEXT, detail=_TEXT)},
    ),
    "Account": _object(
        ["type", "username", "name"],
        type={"type": "string", "enum": ["user", "organization"]},
        username=_TEXT,
        name=_TEXT,
        github_url=_NULLABLE_TEXT,
    ),
    "Hardware": _object(["sku", "name"], sku=_TEXT, name=_TEXT),
    "LoginLink": _object(["url", "expires_in_seconds"], url=_URL, expires_in_seconds={"type": "integer"}),
    "WebhookSecret": _object(["key"], key={"type": "string", "pattern": "^whsec_"}),
    "ModelSecret": _object(["name", "created_at", "updated_at"], name=_TEXT, created_at=_TIME, updated_at=_TIME),
    "ModelSecretValue": _object(["value"], value={"type": "string", "writeOnly": True}),
    "Version": _object(
        ["id", "created_at", "cog_version", "openapi_schema"],
        id={"type": "string", "pattern": "^[0-9a-f]{64}$"},
        created_at=_TIME,
        cog_version=_TEXT,
        openapi_schema=_MAP,
    ),
    "Model": _object(
        ["url", "owner", "name", "visibility", "run_count", "latest_version", "default_example"],
        url=_URL,
        owner=_TEXT,
        name=_TEXT,
        visibility={"type": "string", "enum": ["public", "private"]},
        is_official={"type": "boolean"},
        run_count={"type": "integer"},
        created_at=_TIME,
        default_example={"anyOf": [_ref("Prediction"), {"type": "null"}]},
        latest_version={"anyOf": [_ref("Version"), {"type": "null"}]},
        **dict.fromkeys(_NULLABLE_TEXTS, _NULLABLE_TEXT),
    ),
    "ModelCreation": {
        **_object(
            ["owner", "name", "visibility"],
            owner={"type": "string", "description": "The caller's username"},
            name={"type": "string", "pattern": "^[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*$", "maxLength": 128},
            visibility={"type": "string", "enum": ["public", "private"]},
            hardware={"type": ["string", "null"], "description": "A sku of `GET /hardware`"},
            readme=_NULLABLE_TEXT,
            **dict.fromkeys(_NULLABLE_TEXTS, _NULLABLE_TEXT),
        ),
        "additionalProperties": False,
    },
    "ModelUpdate": {
        **_object([], readme=_NULLABLE_TEXT, **dict.fromkeys(_NULLABLE_TEXTS, _NULLABLE_TEXT)),
        "additionalProperties": False,
    },
    "Prediction": _object(
        ["id", "model", "version", "input", "output", "data_removed", "error", "status", "created_at", "urls"],
        id=_TEXT,
        model=_TEXT,
        version=_TEXT,
        input=_MAP,
        output={"description": "Whatever the model gives; null until there is some"},
        logs=_NULLABLE_TEXT,
        error=_NULLABLE_TEXT,
        status={"type": "string", "enum": STATUSES},
        source={"type": "string", "enum": ["api", "web"]},
        data_removed={"type": "boolean"},
        created_at=_TIME,
        started_at=_TIME,
        completed_at=_TIME,
        deadline=_TIME,
        deployment=_TEXT,
        metrics=_MAP,
        webhook=_URL,
        webhook_events_filter={"type": "array", "items": _TEXT},
        urls=_object(["get", "cancel", "web"], get=_URL, cancel=_URL, stream=_URL, web=_URL),
    ),
    "PredictionCreation": {
        **_object(
            ["version", "input"],
            version={"type": "string", "description": "`VERSION`, `owner/name:VERSION` or `owner/name`"},
            **_RUN,
        ),
        "additionalProperties": False,
    },
    "ModelPredictionCreation": {**_object(["input"], **_RUN), "additionalProperties": False},
    "File": _object(
        ["id", "name", "content_type", "size", "etag", "checksums", "metadata", "created_at", "expires_at", "urls"],
        id=_TEXT,
        name=_TEXT,
        content_type=_TEXT,
        size={"type": "integer"},
        etag=_TEXT,
        checksums=_object(["sha256", "md5"], sha256=_TEXT, md5=_TEXT),
        metadata=_MAP,
        created_at=_TIME,
        expires_at={"type": ["string", "null"], "format": "date-time"},
        urls=_object(["get"], get=_URL),
    ),
    "Instance": _object(
        ["id", "model", "version", "state", "since", "running", "memory_bytes", "cpus", "gpus", "error", "urls"],
        id=_TEXT,
        model={**_NULLABLE_TEXT, "description": "`owner/name`; null when it was deleted"},
        version=_TEXT,
        state={"type": "string", "enum": ["starting", "idle", "busy", "draining", "stopped", "failed"]},
        since={**_TIME, "description": "When it came into this state"},
        concurrency={"type": "integer", "description": "How many predictions it runs at once"},
        running={"type": "array", "items": _TEXT, "description": "Ids of the predictions that it runs"},
        memory_bytes={"type": "integer", "description": "What it holds of the machine's memory"},
        cpus={"type": "number"},
        gpus={"type": "array", "items": _TEXT},
        said={"type": "string", "description": "While it starts: the last line of its setup"},
        error={**_NULLABLE_TEXT, "description": "Why it ended"},
        created_at=_TIME,
        ready_at={"type": ["string", "null"], "format": "date-time"},
        urls=_object(["get", "logs"], get=_URL, logs=_URL),
    ),
    "Yard": _object(
        ["status", "problems", "version", "started_at", "uptime_seconds", "base_image", "engine"],
        status={"type": "string", "enum": ["ready", "degraded", "stopping"]},
        problems={"type": "array", "items": _TEXT},
        version=_TEXT,
        started_at=_TIME,
        uptime_seconds={"type": "number"},
        base_image={**_NULLABLE_TEXT, "description": "What pushes put a version on that name no base"},
        engine={**_TEXT, "description": "What instances are: process, or docker for containers"},
        data={"type": "string", "description": "The data folder. This and what follows: for the operator"},
        queue=_object(
            ["waiting", "oldest_wait_seconds", "pools"],
            waiting={"type": "integer"},
            oldest_wait_seconds={"type": "number"},
            pools={"type": "array", "items": _ref("Pool")},
        ),
        instances={**_COUNTS, "description": "By state"},
        models={"type": "integer"},
        versions={"type": "integer"},
        predictions={**_COUNTS, "description": "By status"},
        disk=_object(
            ["free_bytes", "total_bytes", "folders"],
            free_bytes={"type": "integer"},
            total_bytes={"type": "integer"},
            folders={"anyOf": [_COUNTS, {"type": "null"}], "description": "Bytes by folder; null: not known yet"},
        ),
        machine=_object(
            ["cores", "memory_bytes", "gpus"],
            cores={"type": "integer"},
            memory_bytes={"type": "integer"},
            gpus={"type": "array", "items": _TEXT},
        ),
    ),
    "Pool": _object(
        ["model", "version", "waiting", "oldest_wait_seconds", "instances", "problem"],
        model=_NULLABLE_TEXT,
        version=_TEXT,
        waiting={"type": "integer"},
        oldest_wait_seconds={"type": "number"},
        instances={"type": "integer"},
        problem={**_NULLABLE_TEXT, "description": "Why nothing can be started for it now"},
    ),
    "FileCreation": _object(
        ["content"],
        content={"type": "string", "format": "binary"},
        filename={"type": "string", "maxLength": 255},
        type={"type": "string", "description": "Content type"},
        metadata={"type": "string", "description": "A JSON object", "contentMediaType": "application/json"},
    ),
    "Prune": {
        **_object(
            [],
            dry_run={"type": "boolean", "description": "Only say what would go"},
            older_than={
                "type": ["string", "null"],
                "description": "Age at which outputs and files go: `12h`, `30d`; without it, what the settings say",
            },
            unused={
                "type": ["string", "null"],
                "description": "How much of what no version needs may stay: `5GB`, `0`; without it, what is set",
            },
        ),
        "additionalProperties": False,
    },
    "StoreCheckWish": {
        **_object(
            [],
            deep={"type": "boolean", "description": "Read every byte"},
            fix={"type": "boolean", "description": "Mend what can be mended without loss"},
        ),
        "additionalProperties": False,
    },
    "StoreCheck": _object(
        ["deep", "counts", "findings"],
        deep={"type": "boolean"},
        counts={"type": "object", "additionalProperties": {"type": "integer"}},
        findings={
            "type": "array",
            "items": _object(
                ["kind", "name", "problem", "remedy", "fixable", "fixed", "bytes"],
                kind=_TEXT,
                name=_TEXT,
                problem=_TEXT,
                remedy=_TEXT,
                fixable={"type": "boolean"},
                fixed={"type": "boolean"},
                bytes={"type": "integer"},
            ),
        },
    ),
    "StoredImages": _object(
        ["bytes", "unneeded_bytes", "images", "engine_images"],
        bytes={"type": "integer", "description": "All of it, each layer once"},
        unneeded_bytes={"type": "integer", "description": "What no version and no weight needs"},
        images={
            "type": "array",
            "items": _object(
                ["name", "id", "kind", "tags", "created_at", "bytes", "unique_bytes", "shared_bytes"],
                name=_TEXT,
                id=_TEXT,
                kind={"type": "string", "enum": ["version", "artifact"]},
                tags={"type": "array", "items": _TEXT},
                created_at=_TEXT,
                bytes={"type": "integer"},
                unique_bytes={"type": "integer", "description": "What would go with it"},
                shared_bytes={"type": "integer", "description": "What others have too"},
            ),
        },
        engine_images={
            "type": "array",
            "description": "What an engine of containers pulled from this yard, and has",
            "items": _object(
                ["name", "id", "bytes", "unique_bytes", "shared_bytes", "needed"],
                name=_TEXT,
                id=_TEXT,
                bytes={"type": "integer"},
                unique_bytes={"type": "integer", "description": "What would go with it there"},
                shared_bytes={"type": "integer", "description": "What other images there have too"},
                needed={"type": "boolean", "description": "Is there still a version with this image?"},
            ),
        },
    ),
    "PruneReport": _object(
        ["dry_run", "count", "bytes", "totals", "items", "failures"],
        dry_run={"type": "boolean"},
        count={"type": "integer"},
        bytes={"type": "integer"},
        totals={
            "type": "object",
            "description": "By kind",
            "additionalProperties": _object(["count", "bytes"], count={"type": "integer"}, bytes={"type": "integer"}),
        },
        items={
            "type": "array",
            "description": "At most 1000 of each kind",
            "items": _object(
                ["kind", "name", "bytes", "why"], kind=_TEXT, name=_TEXT, bytes={"type": "integer"}, why=_TEXT
            ),
        },
        failures={
            "type": "array",
            "description": "What could not be removed",
            "items": _object(["kind", "name", "problem"], kind=_TEXT, name=_TEXT, problem=_TEXT),
        },
    ),
}
