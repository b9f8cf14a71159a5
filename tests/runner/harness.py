"""A plain, blocking parent for a worker: a real child process over a real Unix socket."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelyard_runner import protocol

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = Path(__file__).parent / "models"
BOX = f"{REPOSITORY / 'sdk/src'}{os.pathsep}{REPOSITORY / 'runner/src'}"
TERMINAL = ("done", "failed", "canceled")

Frame = dict[str, Any]


class Worker:
    """One worker and the parent's end of its link. Every frame that came is in `frames`, in order."""

    def __init__(self, ref: str, *, python: str | None = None, root: Path = MODELS, **options: Any) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="worker-"))
        self.scratch = self.home / "scratch"
        self.scratch.mkdir()
        self.address = str(self.home / "link")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.address)
        self.listener.listen(1)
        self.frames: list[Frame] = []
        self.chunks = 0
        self._seen = 0
        self.connection: socket.socket | None = None
        settings = {
            "link": f"unix:{self.address}", "token": "secret", "ref": ref, "root": str(root),
            "scratch": str(self.scratch), "mode": "predict", "concurrency": None, "reconnect_seconds": 0,
            "private_urls": True, "weights": None,
        } | options  # fmt: skip
        self.log = (self.home / "log").open("wb+")
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": BOX, "MODELYARD_WORKER": json.dumps(settings),
            "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(self.home),
        }  # fmt: skip
        self.process = subprocess.Popen(
            [python or os.environ.get("WORKER_PYTHON") or sys.executable, "-m", "modelyard_runner", "worker"],
            env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip

    def accept(self, timeout: float = 30) -> Frame:
        """The next connection's hello."""
        self.listener.settimeout(timeout)
        self.connection, _ = self.listener.accept()
        self.decoder = protocol.Decoder()
        return self.until(lambda frame: frame["kind"] == "hello", timeout=timeout)

    def ready(self) -> Frame:
        """Accepts, and waits until setup is over."""
        self.accept()
        return self.until(lambda frame: frame["kind"] in ("ready", "setup_failed"))

    def send(self, **frame: Any) -> None:
        """One frame to the worker."""
        assert self.connection is not None
        self.connection.sendall(protocol.encode(frame))

    def read(self, timeout: float = 30) -> list[Frame]:
        """The frames that come next; an empty list at the end of the link. Raises TimeoutError."""
        assert self.connection is not None
        if not select.select([self.connection], [], [], timeout)[0]:
            raise TimeoutError(f"nothing came; the last frames: {self.frames[-5:]}; log: {self.log_text()}")
        try:
            data = self.connection.recv(1024 * 1024)
        except ConnectionResetError:
            data = b""
        self.chunks += 1
        frames = self.decoder.feed(data)
        self.frames += frames
        return frames if data else []

    def until(self, wanted: Callable[[Frame], bool], *, timeout: float = 30) -> Frame:
        """The first new frame that is wanted, looked for among those not looked at yet."""
        limit = time.monotonic() + timeout
        seen = self._seen
        while True:
            while seen < len(self.frames):
                frame = self.frames[seen]
                seen += 1
                self._seen = seen
                if wanted(frame):
                    return frame
            before = len(self.frames)
            self.read(max(limit - time.monotonic(), 0.01))
            if len(self.frames) == before and self.process.poll() is not None:
                raise AssertionError(f"the worker ended with {self.process.returncode}: {self.log_text()}")

    def start(self, prediction: str, value: Frame | None = None, **fields: Any) -> None:
        """Sends `predict`."""
        self.send(**({"kind": "predict", "id": prediction, "input": value or {}} | fields))

    def end_of(self, prediction: str, timeout: float = 30) -> Frame:
        """The last frame of a prediction, whether it came already or comes now."""
        for frame in self.frames:
            if frame["kind"] in TERMINAL and frame["id"] == prediction:
                return frame
        return self.until(lambda frame: frame["kind"] in TERMINAL and frame["id"] == prediction, timeout=timeout)

    def run(self, value: Frame | None = None, prediction: str = "p1", **fields: Any) -> Frame:
        """One prediction from start to end; gives its last frame."""
        self.start(prediction, value, **fields)
        return self.end_of(prediction)

    def output(self, value: Frame | None = None, prediction: str = "p1", **fields: Any) -> Any:
        """The output of one prediction that has to succeed."""
        frame = self.run(value, prediction, **fields)
        assert frame["kind"] == "done", frame
        return frame["output"]

    def of(self, kind: str, prediction: str | None = "p1") -> list[Frame]:
        """The frames of one kind and prediction so far."""
        return [frame for frame in self.frames if frame["kind"] == kind and frame.get("id") == prediction]

    def items(self, prediction: str = "p1") -> list[Any]:
        """The items of an iterator so far."""
        found: list[Any] = []
        for frame in self.of("output", prediction):
            assert frame["index"] == len(found)
            found += frame["values"] if "values" in frame else json.loads(Path(frame["spilled"]).read_text())
        return found

    def text(self, prediction: str | None = "p1", stream: str | None = None) -> str:
        """What was printed so far: by a prediction, or (None) by the instance."""
        logs = self.of("log", prediction)
        return "".join(frame["text"] for frame in logs if stream in (None, frame["stream"]))

    def setup_text(self) -> str:
        """What setup printed."""
        return "".join(frame["text"] for frame in self.frames if frame["kind"] == "setup")

    def log_text(self) -> str:
        """What the worker wrote to the log file that it was started with."""
        self.log.flush()
        return (self.home / "log").read_text(errors="replace")

    def listen_again(self, *, after: float) -> None:
        """Listens at the same place as before, once that time has passed."""
        time.sleep(after)
        Path(self.address).unlink()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.address)
        self.listener.listen(1)

    def forget(self) -> None:
        """Drops the frames that came so far, as a parent that was restarted."""
        self.frames.clear()
        self._seen = 0

    def hang_up(self) -> None:
        """Breaks the link."""
        assert self.connection is not None
        self.connection.close()

    def memory(self, field: str = "Pss") -> int:
        """Kilobytes, from the kernel's own sum."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))

    def exit_code(self, timeout: float = 20) -> int:
        """The exit code, waited for."""
        return self.process.wait(timeout)

    def close(self) -> None:
        """Ends the worker with all its children, and removes what it left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        for open_one in (self.connection, self.listener, self.log):
            if open_one is not None:
                open_one.close()
        shutil.rmtree(self.home, ignore_errors=True)


@contextlib.contextmanager
def worker(ref: str, *, ready: bool = True, **options: Any) -> Iterator[Worker]:
    """A worker, set up unless told otherwise, for a `with` block."""
    one = Worker(ref, **options)
    try:
        if ready:
            frame = one.ready()
            assert frame["kind"] == "ready", frame
        yield one
    finally:
        one.close()
