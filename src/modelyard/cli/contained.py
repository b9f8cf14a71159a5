"""One prediction or training in a container: the input sent to it over HTTP, its answer made an outcome."""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelyard.cli import container, docker, inputs, media_types, outputs
from modelyard.cli.asked import Asked, Mode
from modelyard.cli.container import Container, EndedError, Plan
from modelyard.cli.inputs import Given
from modelyard.cli.outputs import Outcome, OutputFile
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError

_WORDS: Mapping[Mode, tuple[str, str]] = {
    "predict": ("Running prediction...", "/predictions"),
    "train": ("Running training...", "/trainings"),
}
# As Cog has it: what its server says beside the model's own words would be noise here.
QUIET: Mapping[str, str] = {"LOG_FORMAT": "console", "COG_LOG_LEVEL": "warning"}


class NoSchemaError(ModelyardError):
    """An image says nowhere what its model takes."""

    code = "no_schema"
    title = "No schema"


def check(asked: Asked, document: Mapping[str, Any]) -> Given:
    """The input, before anything is built or started. Raises UsageError, UnwritableError."""
    wanted = inputs.of_training(document) if asked.mode == "train" else document
    given = inputs.parse(wanted, asked.pairs, asked.json_text or None, asked.cwd)
    outputs.check_target(asked.output, asked.cwd)
    return given


@contextmanager
def outcome(
    asked: Asked,
    plan: Plan,
    known: tuple[Mapping[str, Any], Given] | None,
    engine: docker.Engine,
    environ: Mapping[str, str],
    said: Talk,
) -> Iterator[Outcome]:
    """Start the container, let it run once, and have it gone; the outcome's files exist until this is left.

    `known`: the document and the input checked by it, where they could be had before. Raises EndedError, EngineError.
    """
    with tempfile.TemporaryDirectory(prefix="yard-", ignore_cleanup_errors=True) as folder:
        plan = replace(plan, variables={**QUIET, **plan.variables})
        said.say("Starting Docker image and running setup()...")
        with container.running(plan, engine, environ, said) as one:
            one.ready(asked.setup_seconds)
            document, given = known or _asked_for(one, asked)
            words, path = _WORDS[asked.mode]
            said.say(words)
            body: dict[str, Any] = {"input": inputs.placed(given, _data_url)}
            if asked.context:
                body["context"] = dict(asked.context)
            status, reply = one.ask("POST", path, body)
        yield _outcome(status, reply, document, Path(folder))


def _asked_for(one: Container, asked: Asked) -> tuple[Mapping[str, Any], Given]:
    """What an image without a label for it says once its server is up."""
    status, reply = one.ask("GET", "/openapi.json")
    try:
        document = json.loads(reply)
        if status != 200 or "schemas" not in document["components"]:
            raise ValueError
    except (ValueError, LookupError, TypeError):
        raise NoSchemaError("the image has no label with its schema, and its server gives none") from None
    return document, check(asked, document)


def _data_url(file: str) -> str:
    """A file as it goes to a container, which sees none of this machine."""
    path = Path(file)
    return media_types.data_url(media_types.of_name(path.name) or "application/octet-stream", path.read_bytes())


# What comes back


def _outcome(status: int, reply: bytes, document: Mapping[str, Any], folder: Path) -> Outcome:
    try:
        found = json.loads(reply)
    except ValueError:
        found = None
    if status == 422 and isinstance(found, dict):
        raise EndedError("\n".join(_refusals(found)) or reply.decode("utf-8", "replace"))
    if status != 200 or not isinstance(found, dict) or "status" not in found:
        raise EndedError(f"the model's server answered {status}: {reply[:1000].decode('utf-8', 'replace').strip()}")
    files = dict(_files(found.get("output"), folder)) if _has_files(document) else {}
    return Outcome(
        status=str(found["status"]),
        output=found.get("output"),
        error=str(found.get("error") or ""),
        metrics=dict(found.get("metrics") or {}),
        files=files,
    )


def _refusals(found: Mapping[str, Any]) -> Iterator[str]:
    """What a server has against an input, a line a fault."""
    detail = found.get("detail")
    if not isinstance(detail, list):
        yield str(detail or found.get("error") or found)
        return
    for each in detail:
        where = ".".join(str(part) for part in each.get("loc", ()) if part not in ("body", "input"))
        yield f"{where}: {each.get('msg')}" if where else str(each.get("msg"))


def _has_files(document: Mapping[str, Any]) -> bool:
    """Does the model give files? Texts of others that happen to be data URLs stay texts."""
    schemas = document["components"]["schemas"]

    def says(node: Any, seen: frozenset[str]) -> bool:
        if isinstance(node, list):
            return any(says(item, seen) for item in node)
        if not isinstance(node, dict):
            return False
        name = str(node.get("$ref", "")).rpartition("/")[2]
        inner = name in schemas and name not in seen and says(schemas[name], seen | {name})
        return inner or node.get("format") == "uri" or any(says(item, seen) for item in node.values())

    return any(says(schemas.get(name), frozenset()) for name in ("Output", "TrainingOutput"))


def _files(output: Any, folder: Path) -> Iterator[tuple[str, OutputFile]]:
    """The files in an output by the addresses that hold them, written to `folder`."""
    for number, address in enumerate(_addresses(output)):
        head, _, text = address.partition(";base64,")
        path = folder / str(number)
        try:
            path.write_bytes(base64.b64decode(text))
        except binascii.Error:
            continue
        kind = head.removeprefix("data:") or "application/octet-stream"
        yield address, OutputFile(path=path, name="", content_type=kind)


def _addresses(value: Any) -> Iterator[str]:
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _addresses(item)
    elif isinstance(value, str) and value.startswith("data:") and value.partition(",")[0].endswith(";base64"):
        yield value
