"""Hosts that a pusher names and that say nothing, or next to nothing: they hold up nobody but who named them."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from registry_yard import Yard
from small_disks import mounted, needs_root
from talking import ask
from weights_servers import serving

from modelyard import errors
from modelyard.blobs.disk import DiskBlobs
from modelyard.db.sqlite import SqliteDatabase
from modelyard.oci import manifest as oci
from modelyard.oci.client import web
from modelyard.registry.asking import Asking
from modelyard.registry.fetches import Fetches
from modelyard.registry.origins import Origin, Origins
from modelyard.registry.problems import OriginError
from modelyard.registry.upstreams import Upstreams
from modelyard.uses import Uses

MIB = 1024 * 1024


class Silent:
    """It takes every connection, and says only `words`, again and again, if anything."""

    def __init__(self, words: bytes = b"", listen: str = "127.0.0.1") -> None:
        self.here: list[socket.socket] = []
        self.came = threading.Semaphore(0)
        self._words = words
        self._server = socket.create_server((listen, 0))
        self.host = f"{listen}:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                there, _ = self._server.accept()
                self.here.append(there)
                there.recv(1, socket.MSG_PEEK)  # it is not only connected to, but asked
                self.came.release()
                if self._words:
                    threading.Thread(target=self._drip, args=(there,), daemon=True).start()

    def _drip(self, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                there.sendall(self._words)
                time.sleep(0.05)

    def close(self) -> None:
        self._server.close()
        for each in self.here:
            each.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    found = Silent()
    yield found
    found.close()


def mount(yard: Yard, digest: str, host: str) -> int:
    """How a push is answered that says that a layer is there."""
    return ask(yard, "POST", f"/v2/owner/m/blobs/uploads/?mount={digest}&from={host}/o/base").status


def test_hosts_that_say_nothing_do_not_hold_up_who_pushes_and_pulls_from_others(yard: Yard, silent: Silent) -> None:
    yard.upstreams = Upstreams()
    yard.restart()
    data = os.urandom(300_000)
    digest = oci.digest_of(data)
    with serving(lambda handler: handler.content(data)) as url, ThreadPoolExecutor(40) as pool:
        bad = [pool.submit(mount, yard, oci.digest_of(b"%d" % each), silent.host) for each in range(40)]
        assert silent.came.acquire(timeout=30)
        assert mount(yard, digest, url.partition("://")[2]) == 201
        pulled = ask(yard, "GET", f"/v2/owner/m/blobs/{digest}")
        assert (pulled.status, oci.digest_of(pulled.body)) == (200, digest)
        assert not wait(bad, 0, FIRST_COMPLETED).done, "they are still waiting for the one that says nothing"
        silent.close()
        assert {each.result() for each in bad} == {202}
    assert len(silent.here) <= 4


def test_pulls_from_a_host_that_says_nothing_do_not_hold_up_others(yard: Yard) -> None:
    yard.upstreams = Upstreams()
    yard.restart()
    data = os.urandom(300_000)
    digest = oci.digest_of(data)
    asked, go_on = threading.Semaphore(0), threading.Event()

    def stops(handler: Any) -> None:
        if handler.command == "GET":
            asked.release()
            go_on.wait(60)
        handler.answer(200, b"x" * 1000)

    def pull(digest: str) -> int:
        return ask(yard, "GET", f"/v2/owner/m/blobs/{digest}").status

    with (
        serving(stops) as bad,
        serving(lambda handler: handler.content(data)) as good,
        ThreadPoolExecutor(20) as pool,
    ):
        theirs = [oci.digest_of(b"%d" % each) for each in range(20)]
        assert {mount(yard, each, bad.partition("://")[2]) for each in theirs} == {201}
        assert mount(yard, digest, good.partition("://")[2]) == 201
        pulls: list[Future[int]] = [pool.submit(pull, each) for each in theirs]
        try:
            for _ in range(8):
                assert asked.acquire(timeout=30)
            assert pull(digest) == 200
            assert not wait(pulls, 0, FIRST_COMPLETED).done
            assert not asked.acquire(blocking=False), "so many at one host, and no more"
        finally:
            go_on.set()


def run(work: Callable[[Asking], Any], *, at_one: int = 2, in_all: int = 3) -> Any:
    async def main() -> Any:
        return await asyncio.wait_for(work(Asking(at_one=at_one, in_all=in_all)), 60)

    return asyncio.run(main())


def looks(host: str, client: web.Client) -> Callable[[], int]:
    def work() -> int:
        with client, client.open("GET", f"http://{host}/") as reply:
            return reply.status

    return work


def test_beyond_so_many_in_all_a_call_is_refused_and_has_its_place_when_others_end() -> None:
    async def main(asking: Asking) -> None:
        stop = threading.Event()
        calls = [asyncio.create_task(asking.call(f"h{each}", web.Client(), lambda: stop.wait(60))) for each in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(errors.Unavailable, match="3 requests to other registries are on their way"):
            await asking.call("h3", web.Client(), lambda: True)
        stop.set()
        assert await asyncio.gather(*calls) == [True] * 3
        assert await asking.call("h3", web.Client(), lambda: "in")

    run(main)


def test_what_a_call_raises_is_raised_and_its_place_is_free_again() -> None:
    def fails() -> None:
        raise errors.NotFound("not here")

    async def main(asking: Asking) -> None:
        for _ in range(5):
            with pytest.raises(errors.NotFound, match="not here"):
                await asking.call("h", web.Client(), fails)

    run(main)


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        ("http", b""),
        ("http", b"H"),
        ("http", b"HTTP/1.1 200 OK\r\nA: b\r\n"),
        ("https", b""),
        ("https", b"\x16\x03\x03\x40\x00"),  # the beginning of a long message, and then more of it
    ],
)
def test_who_waits_no_more_ends_what_goes_on_however_the_other_side_drips(scheme: str, words: bytes) -> None:
    """A place that is given back means that the thread came to its end: else the third call could never begin."""
    there = Silent(words)

    async def main(asking: Asking) -> None:
        for _ in range(3):
            client, began = web.Client(), asyncio.Event()

            def work(client: web.Client = client) -> None:
                with client, client.open("GET", f"{scheme}://{there.host}/") as reply:
                    reply.read()

            call = asyncio.create_task(asking.call("h", client, work, began.set))
            await began.wait()
            await asyncio.to_thread(there.came.acquire, True, 30)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    try:
        run(main, at_one=1)
    finally:
        there.close()


def test_an_address_is_looked_at_each_time_that_it_is_connected_to() -> None:
    """The other side closes after its answer, and by then its name stands for another address."""
    asked: list[str] = []

    def closes(handler: Any) -> None:
        asked.append(handler.path)
        handler.answer(200, Connection="close")

    may = [True]
    with serving(closes) as url, web.Client(may_connect=lambda _: may[0]) as client:
        with client.open("GET", f"{url}/first") as reply:
            reply.read()
        may[0] = False
        with pytest.raises(errors.Forbidden, match="an address of a private network"):
            client.open("GET", f"{url}/second")
        with pytest.raises(errors.Forbidden, match="an address of a private network"):
            client.open("GET", f"{url}/third")
    assert asked == ["/first"]


@contextlib.asynccontextmanager
async def rooms(folder: Path, database: Path, *, seconds: float) -> AsyncIterator[tuple[Origins, Fetches]]:
    """The yard's own parts that ask, with this little patience."""
    db, upstreams = SqliteDatabase(database, fsync="process"), Upstreams()
    await db.open()
    origins = Origins(db, lambda: 1, upstreams, most_seconds=seconds)
    yield (
        origins,
        Fetches(
            upstreams=upstreams,
            origins=origins,
            blobs=DiskBlobs(folder / "blobs", fsync="process"),
            uses=Uses(60),
            folder=folder / "uploads",
            slow_seconds=seconds,
        ),
    )
    await db.close()


@pytest.mark.parametrize("words", [b"H", b"HTTP/1.1 200 OK\r\nA: b\r\n"])
def test_a_push_does_not_wait_for_one_that_drips(tmp_path: Path, sqlite_url: str, words: bytes) -> None:
    there = Silent(words)

    async def main() -> None:
        async with rooms(tmp_path, Path(sqlite_url.removeprefix("sqlite:///")), seconds=0.5) as (origins, _):
            assert not await origins.take_over(oci.digest_of(b"x"), f"{there.host}/o/base", "owner/m")
            assert len(there.here) == 1
            # And it is not asked again at once.
            assert not await origins.take_over(oci.digest_of(b"y"), f"{there.host}/o/base", "owner/m")
            assert len(there.here) == 1

    try:
        asyncio.run(asyncio.wait_for(main(), 60))
    finally:
        there.close()


def test_a_pull_from_one_that_drips_is_cut_off_and_told(tmp_path: Path, sqlite_url: str) -> None:
    there = Silent(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nand then a little, again and again")

    async def main() -> None:
        async with rooms(tmp_path, Path(sqlite_url.removeprefix("sqlite:///")), seconds=0.5) as (_, fetches):
            origin = Origin(f"{there.host}/o/base", 1_000_000)
            with pytest.raises(
                OriginError, match=r"cannot get it there: it sent fewer than 65536 bytes in 0\.5 seconds"
            ):
                async for _piece in await fetches.open(oci.digest_of(b"x"), origin, 0, 1_000_000):
                    pass

    try:
        asyncio.run(asyncio.wait_for(main(), 60))
    finally:
        there.close()


# -- room


@needs_root
@pytest.mark.parametrize("honest", [True, False])
def test_a_fetch_never_fills_the_disk(yard: Yard, tmp_path: Path, honest: bool) -> None:
    """One that announces what it has is refused at once; of one whose room others take meanwhile nothing stays."""
    yard.upstreams = Upstreams()
    with mounted(tmp_path / "uploads", "40m") as disk:
        yard.restart()
        size = (60 if honest else 30) * MIB
        began, filled = threading.Event(), threading.Event()

        def handle(handler: Any) -> None:
            if handler.command == "HEAD":
                handler.send_response(200)
                handler.send_header("Content-Length", str(size))
                handler.end_headers()
                return
            handler.send_response(200)
            handler.send_header("Content-Length", str(size))
            handler.end_headers()
            with contextlib.suppress(OSError):
                handler.wfile.write(b"x" * MIB)
                began.set()
                filled.wait(30)
                for _ in range(size // MIB - 1):
                    handler.wfile.write(b"x" * MIB)

        digest = oci.digest_of(b"never")
        with serving(handle) as url, ThreadPoolExecutor(1) as pool:
            assert mount(yard, digest, url.partition("://")[2]) == 201
            pull = pool.submit(_pull, yard, digest)
            if not honest:
                assert began.wait(30)
                (disk / "filler").write_bytes(b"\0" * 20 * MIB)
                filled.set()
            answer = pull.result()
        if honest:
            assert answer == "413 The yard's disk is nearly full; no layer is fetched until there is room."
            assert not began.is_set()
        else:
            assert answer == "cut off"
            assert [each.name for each in disk.iterdir()] == ["filler"]
        assert os.statvfs(disk).f_bavail > 0
        yard.stop()
    yard.start()


def _pull(yard: Yard, digest: str) -> str:
    try:
        reply = ask(yard, "GET", f"/v2/owner/m/blobs/{digest}")
    except http.client.IncompleteRead:
        return "cut off"
    return f"{reply.status} {reply.error['message']}"
