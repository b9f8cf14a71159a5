"""A supervisor and its worker: states, slots, deaths, cancellation, the end of everything that was started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from supervised import COMMAND, Heard, run, supervised

from modelyard_runner import frames
from modelyard_runner.screen import Screen
from modelyard_runner.supervisor import AtCapacity, NotReady, Supervisor

pytestmark = pytest.mark.anyio


async def eventually(condition: object, seconds: float = 20) -> None:
    """Waits until a callable is true."""
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        await asyncio.sleep(0.01)


def process_of(supervisor: Supervisor) -> int:
    child = supervisor._child
    assert child is not None
    return child.pid


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_worker_is_starting_then_ready_and_says_what_it_takes() -> None:
    async with supervised("basic.py:Runner", ready=False) as supervisor:
        assert supervisor.state == "STARTING"
        with pytest.raises(NotReady):
            supervisor.predict("p1", b"{}", None, Heard())
        assert await supervisor.settled() == "READY"
        assert supervisor.setup_logs == "setting up\n"
        assert "text" in json.loads(supervisor.schema)["components"]["schemas"]["Input"]["properties"]
        done = await run(supervisor, {"text": "there"})
        assert isinstance(done, frames.Done)
        assert bytes(done.output) == b'"hello there 1"'


async def test_a_slot_is_taken_while_a_prediction_runs_and_free_when_its_end_is_heard() -> None:
    async with supervised("basic.py:async_sleep", concurrency=2) as supervisor:
        heard = Heard()
        states = []
        supervisor.predict("a", b'{"seconds":0.1}', None, heard)
        assert supervisor.state == "READY"
        supervisor.predict("b", b'{"seconds":60}', None, Heard())
        assert supervisor.state == "BUSY"
        with pytest.raises(AtCapacity):
            supervisor.predict("c", b"{}", None, Heard())
        heard.end.add_done_callback(lambda _: states.append(supervisor.state))
        await heard.end
        await asyncio.sleep(0)
        assert states == ["READY"]
        with pytest.raises(AtCapacity):
            supervisor.predict("b", b"{}", None, Heard())


async def test_a_sequential_caller_never_finds_the_slot_taken() -> None:
    async with supervised("hello.py:Runner") as supervisor:
        for number in range(300):
            done = await run(supervisor, {"text": "x"}, f"p{number}")
            assert isinstance(done, frames.Done)


async def test_what_a_worker_said_is_read_though_it_ended_before_we_looked() -> None:
    async with supervised("trouble.py:SetupFails", ready=False) as supervisor:
        # Nobody takes its connection before it has ended; where asyncio was quicker to ask, it is nobody's child.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process_of(supervisor), os.WEXITED | os.WNOWAIT)
        assert await supervisor.settled() == "SETUP_FAILED"
        assert supervisor.error.endswith("\nSetup failed: RuntimeError: bad weights")


async def test_setup_that_raises_leaves_its_traceback_and_what_it_printed() -> None:
    async with supervised("trouble.py:SetupFails", ready=False) as supervisor:
        assert await supervisor.settled() == "SETUP_FAILED"
        assert "Traceback" in supervisor.setup_logs
        assert "Setup failed: RuntimeError" in supervisor.setup_logs
        with pytest.raises(NotReady):
            supervisor.predict("p1", b"{}", None, Heard())


async def test_a_worker_that_cannot_even_start_says_why() -> None:
    command = [COMMAND[0], "-c", "import sys; sys.exit('no such thing')"]
    async with supervised("hello.py:Runner", ready=False, command=command) as supervisor:
        assert await supervisor.settled() == "SETUP_FAILED"
        assert supervisor.setup_logs == "no such thing\nthe worker ended during setup: exited with code 1"
    async with supervised("hello.py:Runner", ready=False, command=["/no/such/python"]) as supervisor:
        assert await supervisor.settled() == "SETUP_FAILED"
        assert "/no/such/python: No such file" in supervisor.setup_logs


async def test_setup_that_takes_too_long_is_ended() -> None:
    async with supervised("trouble.py:SetupHangs", ready=False, setup_timeout=0.5) as supervisor:
        assert await supervisor.settled() == "SETUP_FAILED"
        assert supervisor.setup_logs.endswith("worker setup timed out")
        pid = process_of(supervisor)
        await eventually(lambda: not alive(pid))


async def test_a_worker_that_dies_fails_what_it_ran_and_is_replaced() -> None:
    async with supervised("basic.py:async_sleep") as supervisor:
        heard = Heard()
        supervisor.predict("a", b'{"seconds":60}', None, heard)
        await heard.until(frames.Started)
        os.kill(process_of(supervisor), signal.SIGKILL)
        end = await asyncio.wait_for(heard.end, 20)
        assert isinstance(end, frames.Failed)
        assert "Worker crashed: killed by signal 9 (SIGKILL)" in end.error
        assert supervisor.state in ("DEFUNCT", "STARTING")
        await eventually(lambda: supervisor.state == "READY")
        assert isinstance(await run(supervisor, {"seconds": 0}), frames.Done)
        assert supervisor.generation == 2


async def test_a_worker_stays_dead_where_that_is_asked_for() -> None:
    async with supervised("trouble.py:exits_hard", replace=False) as supervisor:
        end = await run(supervisor)
        assert isinstance(end, frames.Failed)
        assert end.error.startswith("Worker crashed: exited with code ")
        assert supervisor.state == "DEFUNCT"
        await asyncio.sleep(0.1)
        assert supervisor.generation == 1


async def test_cancel_stops_synchronous_and_asynchronous_code() -> None:
    for ref, value in (("trouble.py:loops", {}), ("basic.py:async_sleep", {"seconds": 60})):
        async with supervised(ref) as supervisor:
            heard = Heard()
            supervisor.predict("a", json.dumps(value).encode(), None, heard)
            await heard.until(frames.Started)
            assert supervisor.cancel("a")
            assert isinstance(await asyncio.wait_for(heard.end, 20), frames.Canceled)
            assert not supervisor.cancel("a")
            assert supervisor.generation == 1


async def test_a_worker_that_does_not_heed_a_cancellation_is_ended_and_replaced() -> None:
    async with supervised("stubborn.py:deaf", cancel_grace=0.3) as supervisor:
        heard = Heard()
        supervisor.predict("a", b"{}", None, heard)
        await heard.until(frames.Started)
        supervisor.cancel("a")
        assert isinstance(await asyncio.wait_for(heard.end, 20), frames.Canceled)
        await eventually(lambda: supervisor.state == "READY")


async def test_the_models_own_check_is_asked_and_shared_by_those_who_ask_at_once() -> None:
    async with supervised("basic.py:Healthy") as supervisor:
        assert await asyncio.gather(supervisor.healthcheck(), supervisor.healthcheck()) == [None, None]
        assert supervisor._questions == 1
        await run(supervisor, {"state": "bad"})
        assert await supervisor.healthcheck() == "Healthcheck failed: user-defined healthcheck returned False"
        await run(supervisor, {"state": "raise"})
        assert await supervisor.healthcheck() == "Healthcheck failed: RuntimeError: bad gpu"


async def test_long_inputs_travel_beside_the_link_and_are_forgotten() -> None:
    async with supervised("hello.py:Runner") as supervisor:
        end = await run(supervisor, {"text": "x" * 400_000})
        assert isinstance(end, frames.Done)
        assert end.spilled is not None
        assert len(json.loads(Path(end.spilled).read_text())) == 400_006
        assert list((supervisor.scratch / "inputs").iterdir()) == []


async def test_stopping_lets_what_runs_finish_within_the_grace() -> None:
    async with supervised("basic.py:async_sleep") as supervisor:
        heard = Heard()
        supervisor.predict("a", b'{"seconds":0.3}', None, heard)
        await heard.until(frames.Started)
        await supervisor.stop(10)
        assert isinstance(heard.end.result(), frames.Done)
        with pytest.raises(NotReady):
            supervisor.predict("b", b"{}", None, Heard())


async def test_stopping_ends_everything_that_the_model_started(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "import os, subprocess, sys, time\n"
        "class Runner:\n"
        "    def setup(self):\n"
        "        if os.fork() == 0:\n"
        "            os.setsid()\n"
        "            if os.fork() == 0:\n"
        "                open('daemon.pid', 'w').write(str(os.getpid()))\n"
        "                time.sleep(600)\n"
        "            os._exit(0)\n"
        "        os.wait()\n"
        "        self.child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "    def run(self) -> int:\n"
        "        return self.child.pid\n"
    )
    async with supervised("run.py:Runner", root=tmp_path) as supervisor:
        end = await run(supervisor)
        assert isinstance(end, frames.Done)
        child = int(bytes(end.output))
        pid = tmp_path / "daemon.pid"
        await eventually(lambda: pid.exists() and pid.read_text())
        daemon = int(pid.read_text())
        assert alive(child)
        assert alive(daemon)
    await eventually(lambda: not alive(child) and not alive(daemon))


async def test_a_stranger_at_the_socket_is_turned_away() -> None:
    async with supervised("hello.py:Runner") as supervisor:
        reader, writer = await asyncio.open_unix_connection(str(supervisor.scratch / "link.sock"))
        body = b'{"kind":"hello","token":"guessed","protocol":1}'
        writer.write(len(body).to_bytes(4, "big") + body)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        assert isinstance(await run(supervisor, {"text": "x"}), frames.Done)


async def test_all_that_a_model_prints_is_passed_on() -> None:
    said: list[str] = []
    async with supervised("basic.py:async_sleep", screen=Screen(said.append)) as supervisor:
        await run(supervisor, {"seconds": 0, "text": "y"})
    assert "begin y\nend y\n" in "".join(said)
