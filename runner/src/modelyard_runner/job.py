"""One prediction (or training) that this worker was given, and what it says of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cog.loading
from modelyard_runner import protocol
from modelyard_runner.folder import Folder
from modelyard_runner.link import Link, quote
from modelyard_runner.media import InputError, Inputs
from modelyard_runner.outputs import Encoder, File, OutputError

# How files begin whose frames are none of a model's: ours, and those of the import system.
_NOT_THE_MODELS = (
    *(os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, cog.loading.__file__)),  # noqa: PTH100, PTH120 - pathlib has no part of its own in this
    "<frozen importlib",
    os.path.dirname(os.__file__) + os.sep + "importlib" + os.sep,  # noqa: PTH120 - as above
)

# Kinds of output (see `cog.shapes`) that are arrays in the schema.
_LISTS = ("list", "iterator", "concatenate")


class Job:
    """A prediction from its frame to its end. Everything it reports goes over the link in order."""

    # Whether it may come item by item.
    yields = True
    # To whom belongs what is printed while it runs, where that is not it alone.
    owners = None

    __slots__ = (
        "_began",
        "_clock",
        "_encoder",
        "_frame",
        "_link",
        "_values",
        "canceled",
        "context",
        "files",
        "folder",
        "id",
        "index",
        "interruptible",
        "key",
        "kind",
        "worker",
    )

    def __init__(self, frame: protocol.Frame, link: Link, *, scratch: str, clock: Callable[[], float]) -> None:
        self._frame = frame
        self._link = link
        self._clock = clock
        self._began = 0.0
        self.id: str = frame["id"]
        self.key = quote(self.id)
        self.kind: str = frame["kind"]
        self.context: dict[str, str] = frame.get("context") or {}
        self.files: dict[str, str] = frame.get("files") or {}
        self.folder = Folder(scratch, self.id)
        self._encoder = Encoder(self.folder)
        self.index = 0
        self.canceled = False
        self.interruptible = False
        self.worker: Any = None  # whatever runs it
        self._values: dict[str, Any] | None = None

    @property
    def alone(self) -> bool:
        """Whether it shares no batch: a training, and what brings secrets, since a batch prints into every log."""
        return self.kind == "train" or bool(self._frame.get("secrets"))

    def leave(self, prediction: str) -> bool:
        """Whether what runs has to be stopped because that prediction is cancelled."""
        return prediction == self.id

    def needs_files(self, inputs: Inputs) -> bool:
        """Whether something may have to be fetched for it. Raises as `arguments` does."""
        self._values = self.input()
        return inputs.needs_files(self._values)

    def arguments(self, inputs: Inputs, folder: Folder | None = None) -> dict[str, Any]:
        """What to call the function with. `folder`: where its files are put, its own by default.

        Raises InputError; OSError or ValueError where the values that the caller sent cannot be read.
        """
        values, self._values = self._values or self.input(), None
        return inputs.arguments(values, self.files, folder or self.folder)

    def input(self) -> dict[str, Any]:
        """The values that the caller sent. Raises OSError or ValueError when their file cannot be read."""
        frame = self._frame
        values: dict[str, Any] = frame.get("input") or {}
        if "input_file" in frame:
            with Path(frame["input_file"]).open("rb") as file:
                values = json.load(file)
        secrets = frame.get("secrets")
        return {**values, **secrets} if secrets else values

    def started(self) -> None:
        """The model's code begins."""
        self._began = self._clock()
        self._link.post(f'{{"kind":"started","id":{self.key}', owner=self.id, starts=True)

    def item(self, value: Any) -> None:
        """One item of an iterator. Raises OutputError."""
        text, files = self._encoder.encode(value)
        index = self.index
        self.index = index + 1
        if not files and len(text) <= protocol.INLINE_LIMIT // 2:
            self._link.post_item(self.id, self.key, index, text)
            return
        value_text = self._beside("values", f"[{text}]")
        self._link.post(f'{{"kind":"output","id":{self.key},"index":{index},{value_text}{_files(files)}', owner=self.id)

    def encode(self, value: Any, output: Any = None) -> tuple[str, list[File]]:
        """The text of a whole output, and its files; a list where `output`, the type, is one. Raises OutputError."""
        text, files = self._encoder.encode(value)
        if output is not None and output.kind in _LISTS and text[0] != "[":
            text = _listed(text, output.optional)
        return self._beside("output", text), files

    def _beside(self, name: str, text: str) -> str:
        """A field of a frame: the value itself, or the file that holds it when it is long."""
        if len(text) <= protocol.INLINE_LIMIT // 4 or len(text.encode("utf-8", "replace")) <= protocol.INLINE_LIMIT:
            return f'"{name}":{text}'
        path = self.folder.new("outputs", f"{name}.json")
        Path(path).write_text(text, encoding="utf-8", errors="replace")
        return f'"spilled":{quote(path)}'

    def metric(self, name: str, value: Any, mode: str) -> None:
        """One number or word that the model measures of itself."""
        text = self._encoder.encode(value)[0]
        self._link.post(
            f'{{"kind":"metric","id":{self.key},"name":{quote(name)},"value":{text},"mode":{quote(mode)}', owner=self.id
        )

    def done(self, output: str, files: list[File], *, iterator: bool, urgent: bool = True) -> None:
        """It returned: `output` is what `encode` gave."""
        flag = "true" if iterator else "false"
        self._end(f'"done","iterator":{flag},{output}{_files(files)}', urgent=urgent)

    def failed(self, error: str, traceback: str = "", *, urgent: bool = True, copy: bool = False) -> None:
        """It did not work. `copy`: nor did another one, for the same reason."""
        marked = ',"copy":true' if copy else ""
        self._end(f'"failed","error":{quote(error)},"traceback":{quote(traceback)}{marked}', urgent=urgent)

    def ended_by_cancel(self, *, urgent: bool = True) -> None:
        """It was cancelled."""
        self._end('"canceled"', urgent=urgent)

    def _end(self, body: str, *, urgent: bool) -> None:
        seconds = self._clock() - self._began if self._began else 0.0
        self.folder.forget_inputs()
        self._link.post(
            f'{{"kind":{body},"id":{self.key},"seconds":{seconds:.6f}', owner=self.id, ends=True, urgent=urgent
        )


def _listed(text: str, optional: bool) -> str:
    """The list that the schema promises, of a model that returns one value alone, or none."""
    if text != "null":
        return f"[{text}]"
    return text if optional else "[]"


def _files(files: list[File]) -> str:
    return f',"files":{json.dumps(files)}' if files else ""


def fail(current: Any, error: BaseException, *, urgent: bool) -> None:
    """Ends a prediction with what its code raised; the traceback only where the code is the model's."""
    if isinstance(error, (InputError, OutputError)):
        current.failed(str(error), urgent=urgent)
    else:
        current.failed(describe(error), trace(error), urgent=urgent)


def describe(error: BaseException) -> str:
    """One sentence for a caller: the kind of the error and its own message."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be shown)"
    return f"{name}: {text}" if text else name


def trace(error: BaseException) -> str:
    """The traceback, of the model's lines."""
    import traceback  # slow to load, and most predictions do not fail

    try:
        whole = traceback.TracebackException(type(error), error, error.__traceback__)
        _leave_out_others(whole, set())
        lines = list(whole.format())
    except Exception:
        lines = [f"{type(error).__name__} (its traceback cannot be shown)\n"]
    return "".join(lines)[-protocol.LOG_PIECE :]


def _leave_out_others(whole: Any, seen: set[int]) -> None:
    """Only the model's own frames and its packages' stay: neither ours nor the import system's, of causes either."""
    if whole is None or id(whole) in seen:
        return
    seen.add(id(whole))
    whole.stack[:] = [line for line in whole.stack if not line.filename.startswith(_NOT_THE_MODELS)]
    for inner in (whole.__cause__, whole.__context__, *(getattr(whole, "exceptions", None) or ())):
        _leave_out_others(inner, seen)


def is_iterator(value: Any) -> bool:
    """Whether a result is to be sent item by item: a generator or another iterator, but no file."""
    return hasattr(type(value), "__next__") and not hasattr(value, "read")


def is_async_iterator(value: Any) -> bool:
    """The same for `async` ones."""
    return hasattr(type(value), "__anext__")


def is_awaitable(value: Any) -> bool:
    """Whether a result has to be awaited."""
    return hasattr(type(value), "__await__")
