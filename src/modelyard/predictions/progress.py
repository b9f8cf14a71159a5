"""A worker's frames, applied to the prediction they are about. Each is a legal move or is dropped.

Frames of one prediction are applied in the order in which they came; one that brings files waits for these to be
stored, and what follows waits behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from pathlib import Path
from typing import get_args

import msgspec

from modelyard import confined
from modelyard.predictions import journal as journals
from modelyard.predictions.live import Live
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.record import Status, record_metric
from modelyard.predictions.service import Predictions
from modelyard_runner import frames

log = logging.getLogger(__name__)

# The JSON of an output may be as long as a request's body; longer results belong into a file.
MAX_OUTPUT_BYTES = 128 * 1024 * 1024

PredictionFrame = (
    frames.Done | frames.Started | frames.Output | frames.Log | frames.Metric | frames.Failed | frames.Canceled
)
# As a tuple: a union that is written out in `isinstance` is put together anew each time.
OF_PREDICTIONS = get_args(PredictionFrame)


class Progress:
    """Applies frames to lives. `within`: where the folders of instances are whose frames are not believed: a file that
    they name must lie in the folder of its prediction."""

    def __init__(self, predictions: Predictions, outputs: Outputs, within: Path | None = None) -> None:
        self._predictions = predictions
        self._outputs = outputs
        self._within = within
        self._behind: dict[str, deque[PredictionFrame]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def apply(self, live: Live, frame: PredictionFrame) -> None:
        """Apply one frame; one that the journal already holds (it was sent again) is dropped."""
        if live.ending or (frame.seq and frame.seq <= live.journal.seq):
            return
        behind = self._behind.get(live.id)
        if behind is not None:
            behind.append(frame)
        elif isinstance(frame, frames.VALUED) and (frame.files or frame.spilled):
            self._behind[live.id] = deque([frame])
            task = asyncio.get_running_loop().create_task(self._catch_up(live))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            try:
                self._apply(live, frame, None)
            except OSError as error:
                self._fail(live, f"Its output could not be stored: {error.strerror or error}")

    def busy(self, live: Live) -> bool:
        """Are there frames of it that wait for files to be stored?"""
        return live.id in self._behind

    async def _catch_up(self, live: Live) -> None:
        behind = self._behind[live.id]
        try:
            while behind:
                frame = behind[0]
                value: bytes | None = None
                if isinstance(frame, frames.VALUED) and (frame.files or frame.spilled):
                    value = await self._bring_in(live, frame)
                behind.popleft()
                if not live.ending:
                    self._apply(live, frame, value)
        except (OSError, ValueError) as error:
            self._fail(live, f"Its output could not be stored: {error}")
        finally:
            del self._behind[live.id]

    async def _bring_in(self, live: Live, frame: frames.Output | frames.Done) -> bytes:
        value = bytes(frame.values if isinstance(frame, frames.Output) else frame.output)
        if frame.spilled:
            with self._reached(live, frame.spilled) as path:
                size = (await asyncio.to_thread(path.stat)).st_size
                if size > MAX_OUTPUT_BYTES:
                    raise ValueError(_too_long(size))
                value = await asyncio.to_thread(path.read_bytes)
        if frame.files:
            links: dict[str, str] = {}
            for file in frame.files:
                with self._reached(live, file.path) as path:
                    own = msgspec.structs.replace(file, path=str(path))
                    links |= await self._outputs.keep(live.id, live.files, [own])
                live.files += 1
            for ref, link in links.items():
                # With its quotation marks: one reference may begin like another.
                value = value.replace(msgspec.json.encode(ref), msgspec.json.encode(link))
        return value

    def _reached(self, live: Live, path: str) -> contextlib.AbstractContextManager[Path]:
        if self._within is None:
            return contextlib.nullcontext(Path(path))
        return confined.opened(self._within / (live.record.instance_id or "") / "predictions" / live.id, path)

    def _apply(self, live: Live, frame: PredictionFrame, value: bytes | None) -> None:
        if isinstance(frame, frames.ENDS):
            if frame.seconds > 0 and live.record.status is Status.STARTING:
                self._predictions.started(live, frame.seconds)
        elif frame.seq:
            # An end is safe with its commit only: a journal that counted it would drop it when it is sent again.
            live.journal.seq = frame.seq
        match frame:
            case frames.Done():
                self._done(live, frame, value)
            case frames.Output():
                self._output(live, frame, value)
            case frames.Started():
                if live.record.status is Status.STARTING:
                    self._predictions.started(live)
            case frames.Log():
                if _keep(live, frame.text):
                    self._touched(live, "logs")
            case frames.Metric():
                measured = msgspec.json.decode(frame.value)
                record_metric(live.metrics, frame.name, measured, frame.mode)
                live.journal.add(journals.METRIC, msgspec.json.encode([frame.name, measured, frame.mode]))
            case frames.Failed():
                if frame.traceback:
                    _keep(live, frame.traceback)
                self._predictions.end(live, Status.FAILED, error=frame.error, seconds=frame.seconds)
            case frames.Canceled():
                self._predictions.end(live, Status.CANCELED, seconds=frame.seconds)

    def _touched(self, live: Live, event: str) -> None:
        outbox = self._predictions.outbox
        if outbox is not None and live.record.webhook is not None:
            outbox.touched(live, event)
        live.changed()

    def _output(self, live: Live, frame: frames.Output, value: bytes | None) -> None:
        raw = bytes(frame.values) if value is None else value
        live.iterates = True
        live.journal.add_output(raw, len(msgspec.json.decode(raw, type=list[msgspec.Raw])))
        if live.journal.output_bytes > MAX_OUTPUT_BYTES:
            self._fail(live, _too_long(live.journal.output_bytes))
            return
        self._touched(live, "output")

    def _done(self, live: Live, frame: frames.Done, value: bytes | None) -> None:
        if frame.iterator:
            output = live.journal.output()
        else:
            output = bytes(frame.output) if value is None else value
            live.journal.add_output(b"[%b]" % output, 1)
        self._predictions.end(live, Status.SUCCEEDED, output=output, seconds=frame.seconds)

    def _fail(self, live: Live, error: str) -> None:
        self._predictions.end(live, Status.FAILED, error=error)
        if self._predictions.queue is not None:
            self._predictions.queue.stop(live)


def _keep(live: Live, text: str) -> bool:
    """Add to the log what of the text may be shown. Was that anything?"""
    if live.mask is not None:
        text = live.mask.feed(text)
        if not text:
            return False
    live.journal.add_log(text)
    return True


def _too_long(size: int) -> str:
    return (
        f"The output is {size / 2**20:,.0f} MiB of JSON; at most {MAX_OUTPUT_BYTES // 2**20} MiB are kept."
        " Return a cog.Path for long results."
    )
