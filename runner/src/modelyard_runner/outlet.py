"""Files that leave with an output: as data URLs inside of it, or uploaded, with links in their place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
import pybase64

from modelyard_runner import frames

if TYPE_CHECKING:
    import aiohttp

UPLOAD_TIMEOUT = 25.0
# Bytes of files from which on a thread encodes them.
MANY = 4 * 1024 * 1024

_encode = msgspec.json.encode


class UploadError(Exception):
    """An output file that could not be uploaded."""


class Outlet:
    """Gives output values their final form. `upload_url`: where files go; None: into the value itself.

    `session` gives the HTTP client, when one is needed for the first time.
    """

    def __init__(self, upload_url: str | None, session: Callable[[], Awaitable[aiohttp.ClientSession]]) -> None:
        self._upload_url = upload_url
        self._session = session

    async def resolve(self, frame: frames.Output | frames.Done, prediction: str) -> None:
        """Puts the final value into `frame`: what was spilled, what files turned into. Raises UploadError, OSError."""
        value = await _value(frame)
        if frame.files:
            value = await self._with_files(value, frame.files, prediction)
        if isinstance(frame, frames.Output):
            frame.values = msgspec.Raw(value)
        else:
            frame.output = msgspec.Raw(value)
        frame.spilled = None
        frame.files = []

    async def _with_files(self, value: bytes, files: list[frames.File], prediction: str) -> bytes:
        if self._upload_url is not None:
            links = await asyncio.gather(*(self._upload(self._upload_url, file, prediction) for file in files))
            for file, link in zip(files, links, strict=True):
                value = value.replace(_encode(file.ref), _encode(link))
            return value
        if sum(file.size for file in files) < MANY:
            return _inline(value, files)
        return await asyncio.get_running_loop().run_in_executor(None, _inline, value, files)

    async def _upload(self, base: str, file: frames.File, prediction: str) -> str:
        session = await self._session()
        import aiohttp  # slow to load, and only those who upload need it: the session has loaded it

        target = upload_target(base, file.name)
        headers = {"Content-Type": file.content_type, "x-prediction-id": prediction}
        timeout = aiohttp.ClientTimeout(total=UPLOAD_TIMEOUT)
        try:
            with Path(file.path).open("rb") as data:  # noqa: ASYNC230 - its bytes are read beside the loop
                async with session.put(
                    target, data=data, headers=headers, timeout=timeout, allow_redirects=False
                ) as answer:
                    if not 200 <= answer.status < 300:
                        said = f"{answer.status} {answer.reason or ''}".strip()
                        raise UploadError(f"Failed to upload output: upload returned status {said}")
                    return (answer.headers.get("Location") or target).partition("?")[0]
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
            said = str(error) or f"no answer within {UPLOAD_TIMEOUT:.0f} s"
            raise UploadError(f"Failed to upload output: {said}") from error


def upload_target(base: str, name: str) -> str:
    """Where a file of this name is put: below `base`, whose query stays a query."""
    parts = urlsplit(base)
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    return urlunsplit(parts._replace(path=path + quote(name)))


async def _value(frame: frames.Output | frames.Done) -> bytes:
    if frame.spilled is None:
        return bytes(frame.values if isinstance(frame, frames.Output) else frame.output)
    return await asyncio.get_running_loop().run_in_executor(None, Path(frame.spilled).read_bytes)


def _inline(value: bytes, files: list[frames.File]) -> bytes:
    """The value with each file's content where its name stands; joined once, since contents may be long."""
    pieces: list[bytes] = []
    for file in sorted(files, key=lambda file: value.find(_encode(file.ref))):
        before, _, value = value.partition(_encode(file.ref))
        data = pybase64.b64encode(Path(file.path).read_bytes())
        pieces += before, b'"data:', file.content_type.encode(), b";base64,", data, b'"'
    return b"".join((*pieces, value))


def needs_work(frame: frames.Frame) -> Any:
    """Whether a frame's value is not yet what callers are to see."""
    return isinstance(frame, (frames.Output, frames.Done)) and (frame.files or frame.spilled is not None)
