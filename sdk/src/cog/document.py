"""The OpenAPI document of a model from its signatures: what clients, the web pages and the input checks read.

Keys come sorted, as writers of other languages print them; only `properties` keep the order of the signature.
"""

from __future__ import annotations

from typing import Any, Final

# Relative on purpose: the host has this very file under a name of its own, beside the same `shapes`.
from . import patterns, shapes
from .shapes import Field, SchemaError, Signature, Type

Json = dict[str, Any]

STREAM_TYPES: Final = "Iterator[...], AsyncIterator[...], ConcatenateIterator[...] or AsyncConcatenateIterator[...]"
# Beside the components: the inputs that Cog's schema requires and a call may yet leave out, `Input(default=None)` on a
# type without None. The components are those that Cog writes.
OMITTABLE: Final = "x-modelyard-omittable"
# There too, of a model that runs several predictions in one call: how many, and how long the first waits for others.
BATCH: Final = "x-modelyard-batch"
# The patterns that JSON Schema has no words for, as Python has them, for whoever checks inputs beside the model.
PATTERNS: Final = "x-modelyard-patterns"
# Of a project for Cog up to 0.16, always: the inputs that pydantic read from text, and as what.
LENIENT: Final = "x-modelyard-lenient"
_READ_FROM_TEXT: Final = {"int": "integer", "float": "number", "bool": "boolean"}
_ENUMERATION: Final = "An enumeration."
_SCALARS: Final[dict[str, Json]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "path": {"format": "uri", "type": "string"},
    "file": {"format": "uri", "type": "string"},
    "secret": {"format": "password", "type": "string", "writeOnly": True, "x-cog-secret": True},
}
_TEXT: Final = Type(kind="str")
_TAKEN: Final = frozenset(
    {
        "HTTPValidationError",
        "Input",
        "Output",
        "PredictionRequest",
        "PredictionResponse",
        "Status",
        "TrainingInput",
        "TrainingOutput",
        "TrainingRequest",
        "TrainingResponse",
        "ValidationError",
    }
)


def render(
    run: Signature | None, train: Signature | None, *, streaming: bool, version: str, former: bool = False
) -> Json:
    """The document of a model that predicts, trains, or does both. Raises SchemaError for what it cannot express.

    `streaming`: `@streaming` marks the function. `version`: the version of Modelyard that makes the document. `former`:
    what Cog up to 0.16 let pass is allowed.
    """
    schemas: Json = dict(_shared())
    paths: Json = {
        "/": {"get": _plain_get("root__get", "Root")},
        "/health-check": {"get": _plain_get("healthcheck_health_check_get", "Healthcheck")},
    }
    if run is not None:
        _check_streaming(run, streaming)
        schemas |= _components(run, "Prediction", "", schemas, former=former)
        paths |= _paths("prediction", "predict", "Predict")
        if streaming:
            paths["/predictions"]["post"]["x-cog-streaming"] = True
    if train is not None:
        schemas |= _components(train, "Training", "Training", schemas, former=former)
        paths |= _paths("training", "train", "Train")
    document: Json = {
        "components": {"schemas": schemas},
        "info": {"title": "Cog", "version": version},
        "openapi": "3.0.2",
        "paths": paths,
    }
    for extension, tell in ((OMITTABLE, _omittable), (PATTERNS, _patterns)):
        told = {"Input": tell(run), "TrainingInput": tell(train)}
        if any(told.values()):
            document[extension] = {name: found for name, found in told.items() if found}
    if former:
        read = {"Input": _lenient(run), "TrainingInput": _lenient(train)}
        document[LENIENT] = {name: found for name, found in read.items() if found}
    if run is not None and run.batch is not None:
        document[BATCH] = {"max_size": run.batch.max_size, "max_wait_ms": run.batch.max_wait_ms}
    ordered: Json = _sorted(document, everything=run is not None and train is not None)
    return ordered


def _omittable(signature: Signature | None) -> list[str]:
    return [field.name for field in signature.fields if field.required and field.omittable] if signature else []


def _lenient(signature: Signature | None) -> dict[str, str]:
    """Inputs that pydantic read from text in the Cogs up to 0.16; one with choices it did not."""
    fields = signature.fields if signature else ()
    plain = [field for field in fields if field.choices is None and not field.innermost.choices]
    return {field.name: _READ_FROM_TEXT[field.kind] for field in plain if field.kind in _READ_FROM_TEXT}


def _patterns(signature: Signature | None) -> dict[str, str]:
    given = {field.name: field.regex for field in (signature.fields if signature else ()) if field.regex is not None}
    return {name: regex for name, regex in given.items() if patterns.ecma(regex) is None}


def _check_streaming(run: Signature, streaming: bool) -> None:
    if streaming and (run.output is None or run.output.kind not in shapes.STREAMS):
        raise SchemaError(f"@streaming requires {STREAM_TYPES} return type")


def _components(signature: Signature, noun: str, prefix: str, taken: Json, *, former: bool) -> Json:
    """What one function adds: its input, output, request, response, and a component for each list of choices."""
    enums: Json = {}
    properties: Json = {}
    for order, field in enumerate(signature.fields):
        shapes.check_input(field)
        properties[field.name] = {**_property(field, prefix, enums, taken), "x-order": order}
    required = [field.name for field in signature.fields if field.required]
    inputs: Json = {"properties": properties, "title": f"{prefix}Input", "type": "object"}
    if required:
        inputs["required"] = required
    references = [{"$ref": f"#/components/schemas/{prefix}{name}"} for name in ("Input", "Output")]
    return {
        f"{prefix}Input": inputs,
        f"{prefix}Output": _output(signature.output, former),
        f"{noun}Request": _request(f"{noun}Request", references[0]),
        f"{noun}Response": _response(f"{noun}Response", *references),
        **enums,
    }


def _property(field: Field, prefix: str, enums: Json, taken: Json) -> Json:
    innermost = field.innermost
    choices = field.choices if field.choices is not None else innermost.choices
    made: Json
    if choices:
        name = _enum_name(field.name, list(choices), prefix, taken)
        values = [shapes.plain(choice) for choice in choices]
        enums[name] = {
            "description": _ENUMERATION,
            "enum": values,
            "title": name,
            "type": _SCALARS[innermost.kind]["type"],
        }
        made = _of_choices(field.type, {"$ref": f"#/components/schemas/{name}"})
    else:
        made = _input_type(field.type)
    if not choices or field.is_list:
        made["title"] = title(field.name)
    if field.is_list:
        _bound_items(made, _item_facts(field))
    if field.optional:
        made["nullable"] = True
    return made | ({} if field.is_list else _item_facts(field)) | _facts(field)


def _of_choices(wanted: Type, reference: Json) -> Json:
    """A list of choices stays a list, however deep; an item that may be null says so."""
    if wanted.kind != "list":
        return {"allOf": [reference]}
    item = wanted.item or shapes.ANY
    plain = item.kind != "list" and not item.optional
    inner = reference if plain else _of_choices(item, reference) | ({"nullable": True} if item.optional else {})
    return {"items": inner, "type": "array"}


def _bound_items(made: Json, facts: Json) -> None:
    """Bounds of numbers and patterns are about what is in a list: on the list itself they would mean nothing."""
    while made.get("type") == "array":
        made = made["items"]
    if facts and "$ref" in made:
        made["allOf"] = [{"$ref": made.pop("$ref")}]  # beside a reference nothing else counts
    made.update(facts)


def _enum_name(name: str, values: list[Any], prefix: str, taken: Json) -> str:
    """The parameter's own name, unless that already names something else in the document."""
    other = taken.get(name, {}).get("enum", values)
    return f"{prefix}Input_{name}" if name in _TAKEN or other != values else name


def _item_facts(field: Field) -> Json:
    facts = {
        "minimum": None if field.ge is None else shapes.number(field.ge),
        "maximum": None if field.le is None else shapes.number(field.le),
        "pattern": None if field.regex is None else patterns.ecma(field.regex),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _facts(field: Field) -> Json:
    lengths = ("minItems", "maxItems") if field.is_list else ("minLength", "maxLength")
    facts = {
        "description": field.description,
        lengths[0]: field.min_length,
        lengths[1]: field.max_length,
        "deprecated": True if field.deprecated else None,
        "x-cog-accept": field.accept,
    }
    made = {name: value for name, value in facts.items() if value is not None}
    if field.has_default and not (field.default is None and not field.optional):
        made["default"] = shapes.plain(field.default)
    return made


def _input_type(wanted: Type) -> Json:
    if wanted.kind == "union":
        extra = {"nullable": True} if wanted.optional else {}
        return {"anyOf": [_input_type(member) | extra for member in wanted.members]}
    made: Json = {"type": "object"}
    if wanted.kind == "list":
        made = {"items": _input_type(wanted.item) if wanted.item else {}, "type": "array"}
    elif wanted.kind in _SCALARS:
        made = dict(_SCALARS[wanted.kind])
    if wanted.choices:
        made["enum"] = list(wanted.choices)
    return made | ({"nullable": True} if wanted.optional else {})


def _output(output: Type | None, former: bool) -> Json:
    if output is None:
        raise SchemaError("the function says nothing about what it returns; add a return type, as `-> str`")
    shapes.check_output(output, former=former)
    made = _output_type(output)
    if output.kind in shapes.STREAMS:
        made["x-cog-array-type"] = "iterator"
    if output.kind == "concatenate":
        made["x-cog-array-display"] = "concatenate"
    return made | {"title": "Output"}


def _output_type(output: Type) -> Json:
    made: Json
    match output.kind:
        case "list" | "iterator" | "concatenate":
            inner = output.item or (_TEXT if output.kind == "concatenate" else shapes.ANY)
            made = {"items": _output_type(inner), "type": "array"}
            if output.container in ("set", "frozenset"):
                made["uniqueItems"] = True
        case "union":
            made = {"anyOf": [_output_type(member) for member in output.members]}
        case "none":
            made = {"nullable": True, "type": "object"}
        case "model" | "typeddict":
            made = _output_model(output)
        case "dict" if output.item is not None:
            made = {"additionalProperties": _output_type(output.item), "type": "object"}
        case kind:
            made = dict(_SCALARS.get(kind, {"type": "object"}))
    if output.choices:
        made["enum"] = list(output.choices)
    return made | ({"nullable": True} if output.optional else {})


def _output_model(model: Type) -> Json:
    if not model.fields:
        return {"type": "object"}
    made: Json = {
        "properties": {field.name: _output_type(field.type) | {"title": title(field.name)} for field in model.fields},
        "type": "object",
    }
    required = [field.name for field in model.fields if field.required]
    return made | ({"required": required} if required else {})


def title(name: str) -> str:
    """`guidance_scale` as people read it: `Guidance Scale`."""
    return " ".join(word[:1].upper() + word[1:] for word in name.split("_"))


# What is the same for every model


def _request(name: str, inputs: Json) -> Json:
    return {"properties": {"id": {"title": "Id", "type": "string"}, "input": inputs}, "title": name, "type": "object"}


def _response(name: str, inputs: Json, output: Json) -> Json:
    def text(field: str, **more: str) -> Json:
        return {**more, "title": title(field), "type": "string"}

    properties = {
        "completed_at": text("completed_at", format="date-time"),
        "created_at": text("created_at", format="date-time"),
        "error": text("error"),
        "id": text("id"),
        "input": inputs,
        "logs": text("logs"),
        "metrics": {"title": "Metrics", "type": "object"},
        "output": output,
        "started_at": text("started_at", format="date-time"),
        "status": text("status"),
        "version": text("version"),
    }
    return {"properties": properties, "title": name, "type": "object"}


def _shared() -> Json:
    errors = {"items": {"$ref": "#/components/schemas/ValidationError"}, "title": "Detail", "type": "array"}
    place = {"items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}, "title": "Location", "type": "array"}
    return {
        "HTTPValidationError": {"properties": {"detail": errors}, "title": "HTTPValidationError", "type": "object"},
        "Status": {
            "description": _ENUMERATION,
            "enum": ["starting", "processing", "succeeded", "canceled", "failed"],
            "title": "Status",
            "type": "string",
        },
        "ValidationError": {
            "properties": {
                "loc": place,
                "msg": {"title": "Message", "type": "string"},
                "type": {"title": "Error Type", "type": "string"},
            },
            "required": ["loc", "msg", "type"],
            "title": "ValidationError",
            "type": "object",
        },
    }


def _paths(noun: str, verb: str, summary: str) -> Json:
    """The two routes of a noun: make one, cancel one."""
    plural, name = f"{noun}s", noun.capitalize()
    identity = {"title": f"{name} Id", "type": "string"}
    return {
        f"/{plural}": {
            "post": {
                "description": f"Run a single {noun} on the model",
                "operationId": f"{verb}_{plural}_post",
                "requestBody": {"content": _json({"$ref": f"#/components/schemas/{name}Request"})},
                "responses": _responses({"$ref": f"#/components/schemas/{name}Response"}),
                "summary": summary,
            }
        },
        f"/{plural}/{{{noun}_id}}/cancel": {
            "post": {
                "operationId": f"cancel_{plural}__{noun}_id__cancel_post",
                "parameters": [{"in": "path", "name": f"{noun}_id", "required": True, "schema": identity}],
                "responses": _responses({}),
                "summary": "Cancel",
            }
        },
    }


def _plain_get(operation: str, summary: str) -> Json:
    ok = {"content": _json({}), "description": "Successful Response"}
    return {"operationId": operation, "responses": {"200": ok}, "summary": summary}


def _responses(schema: Json) -> Json:
    invalid = _json({"$ref": "#/components/schemas/HTTPValidationError"})
    return {
        "200": {"content": _json(schema), "description": "Successful Response"},
        "422": {"content": invalid, "description": "Validation Error"},
    }


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _sorted(value: Any, *, everything: bool, keep: bool = False) -> Any:
    """`value` with the keys of its objects sorted; `keep`: they are properties, in their own order."""
    if isinstance(value, dict):
        names = list(value) if keep and not everything else sorted(value)
        return {name: _sorted(value[name], everything=everything, keep=name == "properties") for name in names}
    if isinstance(value, list):
        return [_sorted(item, everything=everything) for item in value]
    return value
