"""The worker protocol: the closed set of messages between a worker and whoever supervises it.

A frame on the wire is a four-byte big-endian length and that many bytes of UTF-8 JSON: one object whose
`kind` names the message. Both sides ignore kinds they do not know (with a log line), so that either may be
newer. This module does no I/O and needs the standard library only: the worker imports it inside the model's
own environment.

To the worker:
    predict      id, input | input_file, secrets, context, files   run the model
    train        the same fields                             run `train()`
    cancel       id                                          stop that prediction
    healthcheck  id                                          ask the model's own `healthcheck()`
    ack          seq                                         every frame up to `seq` is safe, forget it
    shutdown     grace                                       finish within `grace` seconds, then exit

From the worker (each but `hello` carries `seq`, counted from 1 over the worker's whole life):
    hello        token, protocol, pid, python, resumes, running, pipes, waits   first frame of a connection; `running`:
                                                             the ids it holds, not ended, or ended with frames not
                                                             acknowledged; `pipes`: see below; `waits` as in `ready`
    setup        stream, text                                what setup printed
    ready        schema, concurrency, streaming, waits, seconds   setup is done; predictions may come; `waits`: seconds
                                                             that one may wait in the worker for a batch to fill
    setup_failed error, traceback                            setup is over, the worker will exit
    started      id                                          the model's code begins; may be left out by what is over
                                                             within a moment: then `seconds` (above 0) tells of it
    log          id | null, stream, text, copy               null: it belongs to the instance, not to a prediction
    output       id, index, values | spilled, files          items of an iterator, the first one numbered `index`
    metric       id, name, value, mode
    done         id, seconds, iterator, output | spilled, files
    failed       id, seconds, error, traceback, copy
    canceled     id, seconds
    health       id, ok, error

`files` from the worker lists the files that a value mentions: `{"ref", "path", "name", "content_type", "size"}`;
wherever the string `ref` stands in the value, that file is meant. `files` to the worker maps a string that stands
in the input to the absolute path that holds its bytes, so that nothing is fetched over a network twice. `secrets` are
inputs that replace those of the same name; they are never written to a file. A value whose JSON is longer than
`INLINE_LIMIT` bytes travels as the path of a file that holds it (`spilled`, `input_file`).
The file of an `output` frame holds the list that `values` would be. A `traceback` is in no `log` frame: whoever keeps
the logs adds it there. `copy` is true where what was printed, or raised, is another prediction's of the same batch too:
who shows everything in one place leaves it out.

`pipes` are two descriptors of the worker: the reading ends of the pipes that stand in for its stdout and its stderr.
Native code that writes there and ends the process at once leaves its words in them. Whoever starts a worker itself
makes these pipes and reads, when that process is gone, what it did not (`last_words`). A yard that finds a process
`pid` of an earlier life of its own opens them through `/proc`. Where that cannot be (a container) they mean nothing.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

VERSION = 1
ACCEPTED_VERSIONS = (1,)

# Bytes of JSON that a value may have inside its frame; a longer one is written to a file beside the link.
INLINE_LIMIT = 256 * 1024
# No honest frame is longer: values go beside the link and log text is cut into pieces of LOG_PIECE.
MAX_FRAME = 16 * 1024 * 1024
LOG_PIECE = 64 * 1024
# A printed line longer than this is cut, and says so.
MAX_LOG_LINE = 4 * 1024 * 1024
# Items of a token stream that may share one `output` frame.
MAX_BATCH_ITEMS = 4096

LENGTH = struct.Struct(">I")

Frame = dict[str, Any]


class ProtocolError(Exception):
    """The other side sent bytes that are no frame."""


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON; lone surrogates, which UTF-8 cannot carry, become `?`. Raises ValueError for NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def encode(frame: Frame) -> bytes:
    """One frame as it travels: length and JSON."""
    body = dumps(frame)
    return LENGTH.pack(len(body)) + body


def wrap(body: bytes) -> bytes:
    """JSON that is already encoded, as a frame."""
    return LENGTH.pack(len(body)) + body


class Decoder:
    """Bytes in, frames out; keeps what is incomplete until its rest comes."""

    def __init__(self, loads: Callable[[bytes], Any] = json.loads) -> None:
        self._loads = loads
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The frames that `data` completes, in order. Raises ProtocolError for an impossible length or bad JSON."""
        buffer = self._buffer
        buffer += data
        frames: list[Any] = []
        start, end = 0, len(buffer)
        while end - start >= 4:
            (size,) = LENGTH.unpack_from(buffer, start)
            if size > MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes; at most {MAX_FRAME} are allowed")
            stop = start + 4 + size
            if stop > end:
                break
            try:
                frames.append(self._loads(bytes(buffer[start + 4 : stop])))
            except ValueError as error:
                raise ProtocolError(f"a frame that is not JSON: {error}") from error
            start = stop
        if start:
            del buffer[:start]
        return frames
