"""One model in one worker of our own, for one prediction or training: what `yard run` and `train` need of the box."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from modelyard import settings
from modelyard.cli.inputs import Given
from modelyard.cli.outputs import Outcome, OutputFile
from modelyard.cli.project import Project, missing_package
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError
from modelyard.predictions.record import record_metric
from modelyard.timeouts import run_error
from modelyard_runner import frames
from modelyard_runner.supervisor import Supervisor
from modelyard_runner.variables import read as told_by

_ID = "run"


class SetupFailedError(ModelyardError):
    """The model could not be loaded; what it printed has been shown."""


@asynccontextmanager
async def running(
    project: Project,
    python: Path,
    environment: Mapping[str, str],
    setup_timeout_seconds: float,
    talk: Talk,
    *,
    mounts: Sequence[Mapping[str, Any]] = (),
) -> AsyncIterator[Supervisor]:
    """The model, set up, which sees `mounts`. What it prints goes to `talk` as it comes. Raises SetupFailedError."""
    with tempfile.TemporaryDirectory(prefix="yard-", ignore_cleanup_errors=True) as scratch:
        supervisor = Supervisor(
            [str(python), "-m", "modelyard_runner", "worker"],
            {
                "ref": project.ref,
                "root": str(project.root),
                "mode": project.mode,
                "concurrency": 1,
                "private_urls": True,
                "weights": told_by(environment).weights,
                "mounts": list(mounts),
            },
            env=environment,
            scratch=scratch,
            setup_timeout=setup_timeout_seconds,
            replace=False,
            talk=talk.piece,
        )
        with _terminated_like_interrupted():
            try:
                await supervisor.start()
                if await supervisor.settled() != "READY":
                    hint = _next_step(supervisor.error, project, environment)
                    raise SetupFailedError(f"Model setup failed: {supervisor.error}", hint=hint)
                yield supervisor
            finally:
                await supervisor.stop()


def _next_step(error: str | None, project: Project, given: Mapping[str, str]) -> str | None:
    """What to do about the mistakes of everybody's first model."""
    return missing_package(error, project) or missing_variable(error, given)


def missing_variable(error: str | None, given: Mapping[str, str]) -> str | None:
    """What to do about a variable that is set here and that the model, which has those in `given`, looked for."""
    environ = settings.environment()
    quoted = re.findall(r"'([A-Za-z_][A-Za-z0-9_]*)'", error or "")
    name = next((name for name in quoted if name in environ and name not in given), None)
    return name and f"{name} is set here and the model is not given it: -e {name} gives it"


async def predict(
    supervisor: Supervisor,
    given: Given,
    talk: Talk,
    on_piece: Callable[[Any], None] | None = None,
    *,
    timeout_seconds: float | None = None,
    context: Mapping[str, str] | None = None,
) -> Outcome:
    """Run one prediction to its end. `on_piece` gets the items of an iterator as they come.

    In a worker that was started to train it is a training. `context`: what the model's scope knows of the caller.

    The traceback of one that fails goes to `talk`, as anything that the model prints. The files of the outcome exist
    until the supervisor is stopped. One that runs longer than `timeout_seconds` fails, and the model is asked to stop.
    """
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    collector = _Collector(ended, talk, on_piece, timeout_seconds)
    supervisor.predict(_ID, json.dumps(given.values).encode(), context, collector, files=given.files)
    await ended
    supervisor.cancel(_ID)  # where it still runs
    return collector.outcome


class _Collector:
    """Listens to the frames of a prediction and makes its outcome of them."""

    def __init__(
        self,
        ended: asyncio.Future[None],
        talk: Talk,
        on_piece: Callable[[Any], None] | None,
        timeout_seconds: float | None,
    ) -> None:
        self._talk = talk
        self._ended = ended
        self._on_piece = on_piece
        self._timeout_seconds = timeout_seconds
        self._pieces: list[Any] = []
        self._metrics: dict[str, Any] = {}
        self._files: dict[str, OutputFile] = {}
        self.outcome = Outcome(status="failed", error="it never ended")

    def __call__(self, frame: frames.Frame) -> None:
        if self._ended.done():
            return
        match frame:
            case frames.Started() if self._timeout_seconds is not None:
                self._ended.get_loop().call_later(self._timeout_seconds, self._time_out, self._timeout_seconds)
            case frames.Output():
                self._take_files(frame.files)
                self._take_pieces(_value(bytes(frame.values), frame.spilled))
            case frames.Metric():
                record_metric(self._metrics, frame.name, json.loads(bytes(frame.value)), frame.mode)
            case frames.Done():
                self._take_files(frame.files)
                output = self._pieces if frame.iterator else _value(bytes(frame.output), frame.spilled)
                self._end("succeeded", frame.seconds, output=output)
            case frames.Failed():
                self._end("failed", frame.seconds, error=frame.error, output=self._pieces or None)
            case frames.Canceled():
                self._end("canceled", frame.seconds, output=self._pieces or None)
            case _:
                pass

    def _take_files(self, files: list[frames.File]) -> None:
        for file in files:
            self._files[file.ref] = OutputFile(path=Path(file.path), name=file.name, content_type=file.content_type)

    def _take_pieces(self, values: list[Any]) -> None:
        self._pieces += values
        if self._on_piece is not None:
            for value in values:
                self._on_piece(value)

    def _time_out(self, seconds: float) -> None:
        if not self._ended.done():
            self._end("failed", seconds, error=run_error(seconds), output=self._pieces or None)

    def _end(self, status: str, seconds: float, *, output: Any, error: str = "") -> None:
        metrics = {**self._metrics, "predict_time": seconds}
        self.outcome = Outcome(status=status, output=output, error=error, metrics=metrics, files=self._files)
        self._ended.set_result(None)


def _value(inline: bytes, spilled: str | None) -> Any:
    return json.loads(inline if spilled is None else Path(spilled).read_bytes())


@contextmanager
def _terminated_like_interrupted() -> Any:
    """SIGTERM ends us as Ctrl-C does: the worker goes with us, and its files."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - told to the type checker
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
