"""Files over HTTP: upload, list, get, delete, and the signed download that needs no token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response

from modelyard import errors, files, rest
from modelyard.api import stream
from modelyard.api.base import PAGE, Deps, actor_of
from modelyard.api.delivery import BlobResponse
from modelyard.files import File

_OVERHEAD_BYTES = 1024 * 1024
_MAX_METADATA_BYTES = 64 * 1024
_PIECE = 256 * 1024


def file_document(file: File, origin: str) -> dict[str, Any]:
    """A file as callers see it."""
    return {
        "id": file.id,
        "name": file.name,
        "content_type": file.content_type,
        "size": file.size,
        "etag": file.md5,
        "checksums": {"sha256": file.sha256, "md5": file.md5},
        "metadata": file.metadata,
        "created_at": rest.time_text(file.created_at),
        "expires_at": None if file.expires_at is None else rest.time_text(file.expires_at),
        "urls": {"get": f"{origin}/v1/files/{file.id}"},
    }


async def create(deps: Deps, request: Request) -> Response:
    """`POST /v1/files`: a form with `content`, and perhaps `filename`, `type`, `metadata`."""
    actor = await actor_of(deps, request)
    if not rest.header(request.scope, b"content-type").lower().startswith(b"multipart/form-data"):
        raise errors.BadRequest("A file is uploaded as multipart/form-data with a part named 'content'.")
    limited = Request(request.scope, rest.limited(request.receive, files.MAX_FILE_BYTES + _OVERHEAD_BYTES))
    try:
        form = await limited.form(max_files=10, max_fields=200, max_part_size=_OVERHEAD_BYTES)
    except errors.TooLarge:
        raise _too_large() from None
    except MultiPartException as error:
        raise errors.BadRequest(f"The form cannot be read: {error.message}") from None
    try:
        file = await _store(deps, actor.account.id, form)
    finally:
        await form.close()
    origin = deps.addresses.origin(request.scope)
    return rest.json_response(file_document(file, origin), 201, {"location": f"{origin}/v1/files/{file.id}"})


def _too_large() -> errors.TooLarge:
    return errors.TooLarge(f"Files must be less than {files.MAX_FILE_BYTES // 2**20}MB in size")


async def _store(deps: Deps, account_id: str, form: FormData) -> File:
    content = form.get("content")
    if content is None:
        raise errors.BadRequest("The form has no part named 'content'.")
    metadata = await _metadata(form)
    name = _text(form, "filename")
    if len(name.encode()) > files.MAX_NAME_BYTES:
        raise errors.BadRequest(f"The part 'filename' is longer than {files.MAX_NAME_BYTES} bytes.")
    kind = _text(form, "type")
    if isinstance(content, str):
        raw = content.encode("utf-8", "surrogateescape")
        head = raw[: files.HEAD_BYTES]
        return await deps.files.create(account_id, raw, name=name or "file", kind=kind, head=head, metadata=metadata)
    if (content.size or 0) > files.MAX_FILE_BYTES:
        raise _too_large()
    head = await content.read(files.HEAD_BYTES)
    await content.seek(0)
    return await deps.files.create(
        account_id,
        _pieces(content),
        name=name or content.filename or "file",
        kind=kind or content.content_type or "",
        head=head,
        metadata=metadata,
    )


async def _pieces(content: UploadFile) -> AsyncIterator[bytes]:
    while piece := await content.read(_PIECE):
        yield piece


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


async def _metadata(form: FormData) -> dict[str, Any]:
    """The metadata in any of the forms that clients send: a text, a part that looks like a file, `metadata[a][b]`."""
    value = form.get("metadata")
    if isinstance(value, UploadFile):
        value = (await value.read(_MAX_METADATA_BYTES + 1)).decode("utf-8", "replace")
    if value:
        if len(value) > _MAX_METADATA_BYTES:
            raise errors.BadRequest(f"The part 'metadata' is longer than {_MAX_METADATA_BYTES} characters.")
        try:
            return msgspec.json.decode(value, type=dict[str, Any])
        except (ValueError, RecursionError):
            raise errors.BadRequest("The part 'metadata' is not a JSON object.") from None
    metadata: dict[str, Any] = {}
    for key, text in form.multi_items():
        if key.startswith("metadata[") and isinstance(text, str):
            _nest(metadata, key[len("metadata[") :].rstrip("]").split("]["), text)
    return metadata


def _nest(metadata: dict[str, Any], path: list[str], text: str) -> None:
    *parents, leaf = path
    for parent in parents:
        inner = metadata.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise errors.BadRequest(f"The form says both that metadata {parent!r} is a text and that it is an object.")
        metadata = inner
    metadata[leaf] = text


async def list_(deps: Deps, request: Request) -> Response:
    """`GET /v1/files`: the caller's uploads, newest first."""
    actor = await actor_of(deps, request)
    before = rest.parse_cursor(request.query_params.get("cursor"))
    found = await deps.files.list(actor.account.id, limit=PAGE + 1, before=before)
    origin = deps.addresses.origin(request.scope)
    more = None
    if len(found) > PAGE:
        last = found[PAGE - 1]
        more = rest.next_url(origin, request, rest.cursor(last.created_at, last.id))
    return rest.page([file_document(file, origin) for file in found[:PAGE]], more)


async def _file_of(deps: Deps, request: Request) -> File:
    actor = await actor_of(deps, request)
    file = await deps.files.get(actor.account.id, request.path_params["file_id"])
    if file is None:
        raise errors.NotFound("File not found")
    return file


async def get(deps: Deps, request: Request) -> Response:
    """`GET /v1/files/{file_id}`: what is known of a file. The token of a stream of files may stand in its place."""
    prediction_id = deps.outputs.verify_stream(request.path_params["file_id"])
    if prediction_id is not None and await deps.predictions.get(prediction_id) is not None:
        return stream.StreamResponse(deps, prediction_id)
    file = await _file_of(deps, request)
    return rest.json_response(file_document(file, deps.addresses.origin(request.scope)))


async def delete(deps: Deps, request: Request) -> Response:
    """`DELETE /v1/files/{file_id}`."""
    await deps.files.delete(await _file_of(deps, request))
    return Response(status_code=204)


async def download(deps: Deps, request: Request) -> Response:
    """`GET /v1/files/{file_id}/download?owner=&expiry=&signature=`: the bytes, for whoever has the signature."""
    query = request.query_params
    owner, expiry, signature = query.get("owner", ""), query.get("expiry", ""), query.get("signature", "")
    # A plus sign that was not escaped arrives as a space.
    signature = signature.replace(" ", "+")
    file = await deps.files.find(request.path_params["file_id"])
    account = None if file is None else await deps.accounts.get(file.account_id)
    if file is None or account is None or not (expiry.isascii() and expiry.isdigit() and len(expiry) < 16):
        raise errors.NotFound("File not found")
    secret = await deps.accounts.files_secret(account.id)
    good = account.username == owner and files.verify(secret, owner, file.id, int(expiry), signature)
    if not good or int(expiry) * 1_000_000 < deps.clock():
        raise errors.NotFound("File not found")
    return await BlobResponse.make(deps.blobs, file.blob_key, file.name, files.DEFAULT_TYPE, private=True)
