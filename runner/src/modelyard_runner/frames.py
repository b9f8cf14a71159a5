"""The worker's frames as structs, for those who supervise: decoded in one go, values left as the JSON that came.

`protocol` describes each; this is the same closed set, and a test holds the two against each other.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

log = logging.getLogger(__name__)

NULL = msgspec.Raw(b"null")


class File(msgspec.Struct, frozen=True):
    """A file that a value mentions."""

    ref: str
    path: str
    name: str
    content_type: str = "application/octet-stream"
    size: int = 0


class _Frame(msgspec.Struct, tag_field="kind", kw_only=True):
    seq: int = 0


class Hello(_Frame, tag="hello"):
    token: str
    protocol: int
    pid: int = 0
    python: str = ""
    resumes: bool = False
    running: list[str] = []
    pipes: list[int] = []
    waits: float = 0.0


class Setup(_Frame, tag="setup"):
    stream: str
    text: str


class Ready(_Frame, tag="ready"):
    schema: msgspec.Raw = NULL
    concurrency: int = 1
    streaming: bool = False
    waits: float = 0.0
    seconds: float = 0.0


class SetupFailed(_Frame, tag="setup_failed"):
    error: str
    traceback: str = ""


class Started(_Frame, tag="started"):
    id: str


class Log(_Frame, tag="log"):
    text: str
    id: str | None = None
    stream: str = "stdout"
    copy: bool = False


class Output(_Frame, tag="output"):
    id: str
    index: int = 0
    values: msgspec.Raw = NULL
    spilled: str | None = None
    files: list[File] = []


class Metric(_Frame, tag="metric"):
    id: str
    name: str
    value: msgspec.Raw = NULL
    mode: str = "replace"


class Done(_Frame, tag="done"):
    id: str
    seconds: float = 0.0
    iterator: bool = False
    output: msgspec.Raw = NULL
    spilled: str | None = None
    files: list[File] = []


class Failed(_Frame, tag="failed"):
    id: str
    error: str
    seconds: float = 0.0
    traceback: str = ""
    copy: bool = False


class Canceled(_Frame, tag="canceled"):
    id: str
    seconds: float = 0.0


class Health(_Frame, tag="health"):
    id: str
    ok: bool
    error: str | None = None


# What ends a prediction, and what brings values of it.
ENDS = (Done, Failed, Canceled)
VALUED = (Done, Output)

Frame = Hello | Setup | Ready | SetupFailed | Started | Log | Output | Metric | Done | Failed | Canceled | Health

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Frame)


def single_items(frame: Output) -> list[Output]:
    """The same items, each in a frame of its own."""
    values = _split(frame.values)
    if len(values) == 1:
        return [frame]
    wrapped = (msgspec.Raw(b"[%b]" % bytes(value)) for value in values)
    return [Output(id=frame.id, index=index, values=one) for index, one in enumerate(wrapped, frame.index)]


def decode(body: bytes) -> Frame | None:
    """One frame's JSON as its struct; None, with a log line, for a kind that is not known here.

    Raises ValueError for what is no frame.
    """
    try:
        frame: Frame = _decoder.decode(body)
    except msgspec.ValidationError as error:
        if "Invalid value" not in str(error):
            raise ValueError(str(error)) from error
        log.warning("a frame of an unknown kind was ignored: %s", error)
        return None
    return frame
