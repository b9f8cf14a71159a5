"""The program beside a container that Cog built: it speaks our link to the yard, and Cog's HTTP API to the container.

It outlives the yard as a worker does, and is the container's only caller. It ends when its yard stays away, when it is
told to, and when the server in the container can run nothing more; then it asks that server to end, too.

A server of Cog's predicts or trains, as it was started: one that predicts takes trainings too, and calls `predict`.
"""

from __future__ import annotations

import json
import select
import sys
import threading
import time
from pathlib import Path
from typing import Any

from modelyard_runner import protocol
from modelyard_runner.driver_api import END_FILE, Api
from modelyard_runner.driver_hook import Hook
from modelyard_runner.driver_run import Run
from modelyard_runner.job import Job
from modelyard_runner.keeper import Keeper
from modelyard_runner.link import SETUP, Link, LinkLostError, quote
from modelyard_runner.worker import FIRST_DIAL, LAST_ACK, Options

LOOK_SECONDS = 0.05
# By whether it trains.
_OTHER_WORK = {
    False: "This container of an image that Cog built was started to predict, and would call predict() for a training.",
    True: "This container of an image that Cog built was started to train, and would call train() for a prediction.",
}
BUSY_MS, IDLE_MS = 20, 500


class Driver:
    """One container's driver. `listening`: where webhooks can be taken (`host` to listen at, `name` in containers)."""

    def __init__(self, options: Options, address: str, listening: dict[str, str] | None) -> None:
        self._options = options
        keeper = Keeper(Path(options.scratch) / "frames")
        self._link = Link(options.link, options.token, keeper=keeper, clock=time.monotonic)
        self._trains = options.mode == "train"
        self._api = Api(address, "trainings" if self._trains else "predictions")
        self._hook = _hook(listening)
        self._runs: dict[str, Run] = {}
        self._ready = False
        self._streams = self._iterates = False
        self._setup_logged = 0
        self._looked_at = 0.0
        self._began = time.monotonic()
        self._end: tuple[int, str] | None = None

    def run(self) -> int:
        """From the first dial to the exit code."""
        if not self._link.dial(FIRST_DIAL):
            _note(f"nobody answers at {self._options.link}")
            return 1
        while self._end is None or (self._end[0] == 0 and self._runs):
            if not self._attend():
                self._end = (1, "its yard stayed away")
                break
            if not self._ready:
                self._look()
        code, reason = self._end
        self._last_frames(code)
        (Path(self._options.scratch) / END_FILE).write_text(reason)
        self._api.shut_down()
        return code

    # -- the link

    def _attend(self) -> bool:
        """Wait a moment for frames and act on them. False: the yard is gone for good."""
        busy = bool(self._runs) or not self._ready or self._link.pending
        poller = select.poll()
        poller.register(self._link.fileno(), select.POLLIN)
        try:
            frames = self._link.receive(wait=False) if poller.poll(BUSY_MS if busy else IDLE_MS) else []
        except LinkLostError:
            return self._link.dial(self._options.reconnect_seconds, resumes=True)
        for frame in frames:
            self._act(frame)
        self._link.flush()
        return True

    def _act(self, frame: protocol.Frame) -> None:
        kind = frame.get("kind")
        if kind in ("predict", "train"):
            if self._link.hold(frame["id"]):
                self._begin(Job(frame, self._link, scratch=self._options.scratch, clock=time.monotonic))
        elif kind == "cancel":
            run = self._runs.get(frame["id"])
            if run is not None:
                threading.Thread(target=run.cancel, daemon=True).start()
        elif kind == "healthcheck":
            threading.Thread(target=self._say_health, args=(frame["id"],), daemon=True).start()
        elif kind == "shutdown":
            self._end = (0, "it was told to end")

    def _begin(self, job: Job) -> None:
        if (job.kind == "train") != self._trains:
            job.started()
            job.failed(_OTHER_WORK[self._trains])
            return
        run = Run(
            job,
            self._link,
            self._api,
            self._hook,
            streams=self._streams,
            iterates=self._iterates,
            on_lost=self._lose,
        )
        self._runs[job.id] = run
        threading.Thread(target=self._run, args=(run,), daemon=True).start()

    def _run(self, run: Run) -> None:
        try:
            run.run()
        finally:
            self._runs.pop(run.job.id, None)

    def _lose(self, reason: str) -> None:
        self._end = (1, reason)

    def _say_health(self, asked: str) -> None:
        found = self._api.health() or {"status": "UNHEALTHY"}
        error = found.get("user_healthcheck_error")
        if error is None and found["status"] in ("UNHEALTHY", "DEFUNCT"):
            error = f"its server says {found['status']}"
        ok = "true" if error is None else "false"
        said = "null" if error is None else quote(str(error))
        self._link.post(f'{{"kind":"health","id":{quote(asked)},"ok":{ok},"error":{said}', urgent=True)

    # -- setup

    def _look(self) -> None:
        """Is the setup done?"""
        if time.monotonic() < self._looked_at + LOOK_SECONDS:
            return
        found = self._api.health()
        self._looked_at = time.monotonic()
        if found is None:
            return
        setup = found.get("setup") or {}
        self._say_setup(setup.get("logs") or "")
        status = found.get("status")
        if status in ("READY", "BUSY"):
            self._say_ready()
        elif status in ("SETUP_FAILED", "DEFUNCT") or setup.get("status") == "failed":
            error = (setup.get("logs") or "").strip().rpartition("\n")[2] or f"its server says {status}"
            self._link.post(f'{{"kind":"setup_failed","error":{quote(error)},"traceback":""', owner=SETUP, urgent=True)
            self._end = (1, f"setup failed: {error}")

    def _say_setup(self, logs: str) -> None:
        if len(logs) > self._setup_logged:
            self._link.post_log(SETUP, "stdout", logs[self._setup_logged :])
            self._setup_logged = len(logs)

    def _say_ready(self) -> None:
        schema = self._api.schema()
        self._streams, self._iterates = _traits(schema or {}, trains=self._trains)
        self._ready = True
        seconds = time.monotonic() - self._began
        self._link.post(
            f'{{"kind":"ready","schema":{json.dumps(schema)},"concurrency":{self._options.concurrency or 1},'
            f'"streaming":{"true" if self._streams else "false"},"seconds":{seconds:.6f}',
            owner=SETUP,
            urgent=True,
        )

    def _last_frames(self, code: int) -> None:
        """Send what is left; where all has ended, wait until it is safe, too."""
        until = time.monotonic() + LAST_ACK
        while (self._link.pending or not (code or self._link.settled)) and time.monotonic() < until:
            try:
                self._link.flush()
                self._link.receive(wait=False)
            except LinkLostError:
                return
            time.sleep(BUSY_MS / 1000)


def _traits(schema: dict[str, Any], *, trains: bool) -> tuple[bool, bool]:
    """Does the model stream, and is its output sent item by item? A training does neither."""
    if trains:
        return False, False
    post = schema.get("paths", {}).get("/predictions", {}).get("post", {})
    output = schema.get("components", {}).get("schemas", {}).get("Output", {})
    return bool(post.get("x-cog-streaming")), output.get("x-cog-array-type") == "iterator"


def _hook(listening: dict[str, str] | None) -> Hook | None:
    if listening is None:
        return None
    try:
        return Hook(listening["host"], listening["name"])
    except OSError as error:
        _note(f"logs come with the end of a prediction only: nobody can listen at {listening['host']}: {error}")
        return None


def _note(text: str) -> None:
    sys.stderr.write(f"modelyard driver: {text}\n")


def main(text: str) -> int:
    """Drive the server that `text` (JSON: `worker`, `address`, `listening`) names; gives the exit code."""
    told = json.loads(text)
    options = Options.parse(json.dumps(told["worker"]))
    return Driver(options, told["address"], told.get("listening")).run()
