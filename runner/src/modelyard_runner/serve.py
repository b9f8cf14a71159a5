"""Serves one model over HTTP: `python -m modelyard_runner` in an image, and `yard serve` on a host."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import logging
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from modelyard_runner.crew import Crew
from modelyard_runner.facts import Facts
from modelyard_runner.outlet import Outlet
from modelyard_runner.routes import App
from modelyard_runner.runs import Runs
from modelyard_runner.supervisor import Supervisor
from modelyard_runner.versions import VERSION
from modelyard_runner.webhook import Sender

if TYPE_CHECKING:
    import aiohttp

# Written when setup is done, where a cluster's probe looks for it.
READY_FILE = Path("/var/run/cog/ready")
# How often the model's source is looked at where it is to be loaded again after a change, in seconds.
LOOK_SECONDS = 0.5

_HINTS = {
    errno.EADDRINUSE: "choose another port, or stop what uses this one",
    errno.EADDRNOTAVAIL: "the address is none of this machine's; 127.0.0.1 and 0.0.0.0 always are",
    errno.EACCES: "ports below 1024 are for root; choose a higher one",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What to serve, and how.

    `root` is the model's folder, `ref` what to run there (`run.py:Runner`), `python` and `env` are the model's own.
    `train_ref`: what trains there, where `mode` is to predict and it is something else. `mounts`: folders that the
    model sees at other paths (see `view`).
    `report` gets what the model prints and what the server has to say, as text for a person. `serving` is called with
    the port once requests are taken. Times are in seconds; a timeout of None is none. `schema`: the model's
    OpenAPI document where it was made ahead. `explicit_shutdown`: SIGTERM means nothing. `restart`: a worker that dies
    is replaced; else the state stays DEFUNCT, as Cog has it. `workers`: how many processes hold the model, each with
    its own `concurrency`. `ready` is told how the first setup ended. `renewed` is asked again and again, in a thread,
    what to serve instead from now on: None for no change.
    """

    root: Path
    ref: str
    python: str
    env: Mapping[str, str]
    host: str = "0.0.0.0"  # noqa: S104 - as in an image, where the host decides what is published
    port: int = 5000
    upload_url: str | None = None
    mode: str = "predict"
    train_ref: str | None = None
    concurrency: int | None = None
    setup_timeout: float | None = None
    run_timeout: float | None = None
    grace: float = 10.0
    throttle: float = 0.5
    stream_history: int = 1024
    weights: str | None = None
    mounts: Sequence[Mapping[str, Any]] = ()
    schema: bytes | None = None
    python_version: str = ""
    webhook_token: str | None = None
    explicit_shutdown: bool = False
    restart: bool = True
    workers: int = 1
    ready_file: Path | None = None
    report: Callable[[str], None] = field(default=lambda _: None)
    serving: Callable[[int], None] = field(default=lambda _: None)
    ready: Callable[[bool], None] = field(default=lambda _: None)
    renewed: Callable[[], ServeOptions | None] | None = None


def serve(options: ServeOptions) -> int:
    """Serves until it is told to stop; gives the exit code. A port that cannot be had is reported, and gives 1."""
    try:
        listener = _listen(options.host, options.port)
    except OSError as error:
        options.report(
            f"error: cannot listen on {options.host}:{options.port}: {error.strerror or error}\n"
            f"hint: {_HINTS.get(error.errno or 0, 'choose another port, or another address')}\n"
        )
        return 1
    with listener, contextlib.closing(uvloop.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(_serve(options, listener))
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            asyncio.set_event_loop(None)


async def _serve(options: ServeOptions, listener: socket.socket) -> int:
    """One service after the other. Who connects in between waits: the socket stays open."""
    following: ServeOptions | None = options
    while following is not None:
        service = _Service(following)
        await service.run(listener.dup())
        following = service.following
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Clients:
    """The HTTP client of uploads and webhooks, loaded beside the loop when it is needed: that takes a while."""

    def __init__(self) -> None:
        self._loading: asyncio.Task[aiohttp.ClientSession] | None = None

    def load(self) -> asyncio.Task[aiohttp.ClientSession]:
        """Begins to load it, if nobody did."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load())
        return self._loading

    async def _load(self) -> aiohttp.ClientSession:
        library = await asyncio.to_thread(importlib.import_module, "aiohttp")
        headers = {"User-Agent": f"modelyard/{VERSION}"}
        session: aiohttp.ClientSession = library.ClientSession(headers=headers, cookie_jar=library.DummyCookieJar())
        return session

    async def session(self) -> aiohttp.ClientSession:
        """The client."""
        return await asyncio.shield(self.load())

    async def close(self) -> None:
        if self._loading is not None:
            await (await self._loading).close()


class _Service:
    """A supervisor, the application before it, and their end."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._scratch = Path(tempfile.mkdtemp(prefix="modelyard-serve-"))
        self._clients = _Clients()
        worker = {
            "ref": options.ref,
            "root": str(options.root),
            "mode": options.mode,
            "train_ref": options.train_ref,
            "concurrency": options.concurrency,
            "private_urls": True,
            "weights": options.weights,
            "mounts": list(options.mounts),
        }

        def supervisor(scratch: Path) -> Supervisor:
            return Supervisor(
                [options.python, "-m", "modelyard_runner", "worker"],
                worker,
                env={**options.env, "TMPDIR": str(self._scratch / "tmp")},
                scratch=scratch,
                setup_timeout=options.setup_timeout,
                replace=options.restart,
                talk=options.report,
            )

        single = options.workers == 1
        self._supervisor = supervisor(self._scratch) if single else Crew(options.workers, supervisor, self._scratch)
        self._runs = Runs(
            self._supervisor,
            Outlet(options.upload_url, self._clients.session),
            clock=_now,
            history=options.stream_history,
            timeout=options.run_timeout,
        )
        token = options.webhook_token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._sender = Sender(self._clients.session, headers=headers, throttle=options.throttle)
        self._asked = asyncio.Event()
        self._now = asyncio.Event()
        # What is to be served after this; None: nothing.
        self.following: ServeOptions | None = None

    def _app(self) -> App:
        options = self._options
        facts = Facts(
            self._supervisor,
            mode=options.mode,
            version=VERSION,
            python=options.python_version,
            schema=options.schema,
        )
        return App(self._supervisor, self._runs, self._sender, facts, shutdown=self._stop, clock=_now)

    def _stop(self) -> None:
        """Asked once: what runs may finish. Asked twice: it may not."""
        self.following = None
        (self._now if self._asked.is_set() else self._asked).set()

    async def run(self, listener: socket.socket) -> None:
        """Serves on a socket, which it closes, until it is told to stop or there is something else to serve."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._stop)
        loop.add_signal_handler(signal.SIGTERM, (lambda: None) if self._options.explicit_shutdown else self._stop)
        (self._scratch / "tmp").mkdir()
        config = uvicorn.Config(
            self._app(),
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        server = _Server(config)
        try:
            serving = loop.create_task(server.serve(sockets=[listener]))
            self._options.serving(listener.getsockname()[1])
            await self._supervisor.start()
            if self._options.upload_url is not None:
                self._clients.load()
            watching = [loop.create_task(self._watch_setup()), loop.create_task(self._watch_source())]
            await self._asked.wait()
            if self.following is not None:
                # Who connects from now on is answered by what comes next.
                for taking in server.servers:
                    taking.close()
            await self._drain()
            server.should_exit = True
            await serving
            for task in watching:
                task.cancel()
            await self._sender.close(self._options.grace)
            await self._clients.close()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    async def _drain(self) -> None:
        """What runs may finish within the grace, unless somebody asks again."""
        stopping = asyncio.ensure_future(self._supervisor.stop(self._options.grace))
        hurry = asyncio.ensure_future(self._now.wait())
        await asyncio.wait((stopping, hurry), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not stopping.done():
            self._supervisor.kill()
            await stopping
        await self._runs.drain(self._options.grace)

    async def _watch_source(self) -> None:
        renewed = self._options.renewed
        while renewed is not None and self.following is None:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                following = await asyncio.to_thread(renewed)
            except Exception:  # the next change may mend what this one broke
                log.exception("the changed source could not be read")
                continue
            if following is not None and not self._asked.is_set():
                self.following = following
                self._asked.set()

    async def _watch_setup(self) -> None:
        state = await self._supervisor.settled()
        if state == "SETUP_FAILED":
            self._options.report(f"{self._supervisor.error}\n")
        self._options.ready(state != "SETUP_FAILED")
        if state != "SETUP_FAILED" and self._options.ready_file is not None:
            try:
                self._options.ready_file.parent.mkdir(parents=True, exist_ok=True)
                self._options.ready_file.touch()
            except OSError as error:
                log.warning("%s cannot be written: %s", self._options.ready_file, error)


def _now() -> int:
    return time.time_ns() // 1000
