"""The process that holds the model: captures its output, dials the link, sets it up once, runs it many times."""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cog.shapes import Batch
from cog.weights import given as weights_for
from modelyard_runner import addresses, folder, loader, protocol
from modelyard_runner.capture import Capture
from modelyard_runner.job import describe, is_awaitable, trace
from modelyard_runner.keeper import Keeper
from modelyard_runner.line import Line
from modelyard_runner.link import SETUP, Link, LinkLostError, quote
from modelyard_runner.watcher import Watcher

# Seconds to look for whoever should be listening, at the start.
FIRST_DIAL = 3.0
# Seconds to wait for the last frames to be taken, and for the model's own threads to end.
LAST_ACK = 5.0


class OptionsError(ValueError):
    """`MODELYARD_WORKER` is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a worker is told when it starts; the fields are explained in `docs/architecture/interfaces.md`."""

    link: str
    token: str
    ref: str
    root: str
    scratch: str
    mode: str = "predict"
    train_ref: str | None = None
    concurrency: int | None = None
    reconnect_seconds: float = 0.0
    private_urls: bool = True
    weights: str | None = None
    mounts: list[dict[str, Any]] | None = None
    pipes: list[int] | None = None

    @classmethod
    def parse(cls, text: str) -> Options:
        """From the JSON in `MODELYARD_WORKER`; fields unknown to this version are ignored. Raises OptionsError."""
        try:
            values = json.loads(text)
            known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
            return cls(**known)
        except (ValueError, TypeError, AttributeError) as error:
            raise OptionsError(f"MODELYARD_WORKER: {error}") from error


class Setup:
    """Attends to the link while the model is loaded and set up."""

    def __init__(self, link: Link, reconnect_seconds: float) -> None:
        self._link = link
        self._reconnect_seconds = reconnect_seconds
        self.early: list[protocol.Frame] = []
        # Set before anybody hears that setup is over: whoever says shutdown from then on may have sent predictions.
        self.over = False

    def dispatch(self, frame: protocol.Frame) -> None:
        """Ends the process when told to before there can be work; keeps everything else for later."""
        if frame.get("kind") == "shutdown" and not self.over:
            os._exit(0)
        self.early.append(frame)

    def lost(self) -> None:
        """Dials again, or ends the process."""
        if not (self._link.survives and self._link.dial(self._reconnect_seconds, resumes=True)):
            os._exit(1)

    def urge(self) -> float | None:
        """Nothing to urge."""
        return None


class Worker:
    """One worker's life."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        keeper = Keeper(Path(options.scratch) / "frames") if options.reconnect_seconds > 0 else None
        self._link = Link(options.link, options.token, keeper=keeper, clock=clock)
        self._capture = Capture(self._link.post_log, clock, self._link.held)
        self._setup = Setup(self._link, options.reconnect_seconds)
        self._watcher = Watcher(self._link, self._capture, self._setup)
        self._loop: Any = None
        self._stderr = 2
        # Why the folders that the model is to see cannot be shown to it.
        self._unseen: str | None = None

    def run(self) -> int:
        """From the first dial to the exit code."""
        if self._options.mounts:
            self._take_view(self._options.mounts)
        self._stderr = self._capture.install(self._options.pipes or ())
        self._link.facts["pipes"] = self._capture.pipes
        if not self._link.dial(FIRST_DIAL):
            self._note(f"nobody answers at {self._options.link}")
            return 1
        os.register_at_fork(after_in_child=self._abandon)
        self._watcher.start()
        model = self._set_up()
        if model is None:
            self._last_frames()
            return 1
        code = self._serve(model)
        if code == 0:
            self._last_frames()
        return code

    def _take_view(self, mounts: list[dict[str, Any]]) -> None:
        """See the folders at their places, before there is a second thread, which would see the disk as it was."""
        from modelyard_runner import view  # only a model with such folders pays for ctypes

        try:
            view.enter(mounts)
        except view.ViewError as error:
            self._unseen = str(error)

    def _abandon(self) -> None:
        """A forked child is no worker: the link and the pipes' reading ends are its parent's."""
        self._link.abandon()
        self._capture.abandon()

    def _note(self, text: str) -> None:
        """A line for whoever looks after workers, not for a prediction's log."""
        os.write(self._stderr, f"modelyard worker: {text}\n".encode("utf-8", "replace"))

    def _fetch(self, url: str, new_path: Callable[[str], str]) -> str:
        from modelyard_runner import fetch  # slow to load, and only files that come by URL need it

        allowed = fetch.anywhere if self._options.private_urls else fetch.is_public
        return fetch.fetch(url, new_path, allowed=allowed)

    # Setup ---------------------------------------------------------------------------------------------------

    def _set_up(self) -> loader.Model | None:
        """The model, ready and announced; None when it failed, and that was said."""
        began = self._clock()
        self._watcher.begin(self._setup)
        try:
            if self._unseen is not None:
                raise loader.LoadError(self._unseen)
            model = self._with_trainer(self._load(self._options.ref, train=self._options.mode == "train"))
            self._run_setup(model)
        except BaseException as error:  # the border: whatever a model's module or setup raises
            self._capture.set_up()
            text = str(error) if isinstance(error, loader.LoadError) else describe(error)
            self._link.post(
                f'{{"kind":"setup_failed","error":{quote(text)},"traceback":{quote(trace(error))}',
                owner=SETUP,
                urgent=True,
            )
            return None
        schema = self._schema(model)
        batch = self._batch(model)
        waits = self._link.facts["waits"] = 0.0 if batch is None else batch.max_wait_ms / 1000
        self._capture.set_up()
        self._setup.over = True
        self._link.post(
            f'{{"kind":"ready","schema":{schema},"concurrency":{self._concurrency(model)},'
            f'"streaming":{"true" if model.streaming else "false"},"waits":{waits},'
            f'"seconds":{self._clock() - began:.6f}',
            owner=SETUP,
            urgent=True,
        )
        return model

    def _load(self, ref: str, *, train: bool) -> loader.Model:
        return loader.load(ref, Path(self._options.root), train=train)

    def _with_trainer(self, model: loader.Model) -> loader.Model:
        """The model, with what its first training loads where it is told to find that elsewhere."""
        ref = self._options.train_ref
        if ref in (None, self._options.ref) or self._options.mode == "train":
            return model
        return replace(model, train=None, trainer=self._load_trainer)

    def _load_trainer(self) -> loader.Function:
        model = self._load(str(self._options.train_ref), train=True)
        if model.train is None:
            raise loader.LoadError(f"train method not found: {self._options.train_ref}")
        if model.setup is not None and self._loop is not None and self._loop.is_running():
            raise loader.LoadError(
                "beside an async model, what trains cannot have a setup; serve it with --x-mode train"
            )
        self._run_setup(model)
        return model.train

    def _schema(self, model: loader.Model) -> str:
        """The schema as JSON; `null`, with a line in the setup's log, for functions that have none."""
        try:
            return json.dumps(model.schema(), allow_nan=False)
        except (ValueError, TypeError) as error:  # SchemaError is a ValueError
            sys.stderr.write(f"This model has no schema: {error}\n")
            return "null"

    def _run_setup(self, model: loader.Model) -> None:
        if model.setup is None:
            return
        if model.wants_weights:
            result = model.setup(weights=weights_for(model.weights_type, self._options.weights, self._fetch_weights))
        else:
            result = model.setup()
        if is_awaitable(result):
            self._event_loop().run_until_complete(result)

    def _fetch_weights(self, url: str) -> str:
        if not addresses.is_remote(url):
            return url
        target = Path(self._options.scratch) / "weights"
        folder.remove_tree(str(target))
        target.mkdir(parents=True, exist_ok=True)  # in a container it is mounted, and stays
        return self._fetch(url, lambda name: str(target / name))

    def _entry(self, model: loader.Model) -> loader.Function:
        chosen = (model.train if self._options.mode == "train" else model.run) or model.train
        if chosen is None:
            raise loader.LoadError("the model has nothing to run")
        return chosen

    def _concurrency(self, model: loader.Model) -> int:
        batch = self._batch(model)
        if batch is not None:
            return self._options.concurrency or batch.slots
        wanted = self._options.concurrency or model.concurrency
        if wanted > 1 and not self._entry(model).is_async:
            self._note("only async models run several predictions at once; concurrency is 1")
            return 1
        return wanted

    def _batch(self, model: loader.Model) -> Batch | None:
        return model.batch if self._entry(model) is model.run else None

    def _line(self, model: loader.Model) -> Line:
        batch = self._batch(model)
        if batch is None:
            return Line()
        from modelyard_runner.batch import BatchLine  # most models have none

        return BatchLine(batch, self._concurrency(model), scratch=self._options.scratch, clock=self._clock)

    def _event_loop(self) -> Any:
        if self._loop is None:
            import asyncio  # a synchronous model never needs it

            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    # Serving -------------------------------------------------------------------------------------------------

    def _serve(self, model: loader.Model) -> int:
        options = self._options
        settings: dict[str, Any] = {
            "scratch": options.scratch,
            "reconnect_seconds": options.reconnect_seconds,
            "train": options.mode == "train",
            "fetch": self._fetch,
            "clock": self._clock,
            "note": self._note,
            "line": self._line(model),
        }
        self._watcher.finish()
        if self._entry(model).is_async:
            from modelyard_runner.execution_async import AsyncExecution  # asyncio: a synchronous model never needs it

            self._watcher.stop()
            concurrency = 1 if self._batch(model) is not None else self._concurrency(model)
            serving = AsyncExecution(
                model, self._link, self._capture, self._event_loop(), concurrency=concurrency, **settings
            )
            return serving.run(self._setup.early)
        from modelyard_runner.execution_sync import SyncExecution  # beside the other: one of the two is loaded

        with self._watcher.receiving:
            early = list(self._setup.early)
        return SyncExecution(model, self._link, self._capture, self._watcher, **settings).run(early)

    def _last_frames(self) -> None:
        """Waits until the last frames are sent and, where that is asked for, acknowledged."""
        until = self._clock() + LAST_ACK
        self._watcher.finish()
        with self._watcher.receiving:
            while not self._link.settled and self._clock() < until:
                self._link.flush()
                poller = select.poll()
                poller.register(self._link.fileno(), select.POLLIN)
                poller.poll(20)
                try:
                    self._link.receive(wait=False)
                except LinkLostError:
                    return


def main(text: str) -> int:
    """Runs a worker with the options that `text` (JSON) holds; gives the exit code."""
    try:
        options = Options.parse(text)
    except OptionsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    code = Worker(options, time.monotonic).run()
    threading.Thread(target=_exit_soon, args=(code,), daemon=True).start()
    return code


def _exit_soon(code: int) -> None:
    """Ends a process whose threads do not."""
    time.sleep(LAST_ACK)
    os._exit(code)
