"""What every engine promises: one instance is started, watched, stopped, and found again after its yard was away.

In the place of a worker a program of a few lines is started, which does what its `ref` says. `Stage` makes engines of
one kind and says what a model sees.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from deaths import Deaths

from modelyard.engines.base import Engine, EngineError, Limits, OnExit, Spec

MIB = 2**20
# The worker's place; where it was told its options on stdin, secrets came with them.
PROGRAM = """
import json, os, signal, sys, time
told = os.environ["MODELYARD_WORKER"]
if told == "-":
    handed = json.loads(sys.stdin.readline())
    os.environ.update(handed["environment"])
    told = json.dumps(handed["worker"])
options = json.loads(told)
if hasattr(signal, "SIGTERM") and "ignores" not in options["ref"]:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
out = options["scratch"] + "/predictions"
exec(options["ref"])
"""


class Stage(Protocol):
    """Makes engines of one kind, over one folder."""

    folder: Path

    def make(self, on_exit: OnExit) -> Engine: ...
    def spec(self, code: str, name: str) -> Spec: ...
    def broken(self, name: str) -> Spec: ...


async def until(path: Path) -> str:
    for _ in range(1000):
        if path.exists() and (text := path.read_text()):
            return text
        await asyncio.sleep(0.02)
    raise AssertionError(f"{path} was not written")


@pytest.mark.anyio
class EnginesSuite:
    @pytest.fixture
    def stage(self) -> Stage:
        raise NotImplementedError

    @pytest.fixture
    def deaths(self) -> Deaths:
        return Deaths()

    @pytest.fixture
    async def engine(self, stage: Stage, deaths: Deaths) -> AsyncIterator[Engine]:
        engine = stage.make(deaths)
        yield engine
        for handle in await engine.list():
            await engine.stop(handle.instance, 0)
        await engine.close()

    def out(self, stage: Stage, name: str) -> Path:
        folder = stage.folder / name / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def test_a_death_is_told_once_with_its_exit_code(self, stage: Stage, engine: Engine, deaths: Deaths) -> None:
        await engine.start(stage.spec("sys.exit(7)", "seven"))
        assert await deaths.of("seven") == "exited with code 7"
        assert await engine.list() == []

    async def test_a_death_is_told_with_its_signal(self, stage: Stage, engine: Engine, deaths: Deaths) -> None:
        await engine.start(stage.spec("os.kill(os.getpid(), signal.SIGKILL)", "killed"))
        assert await deaths.of("killed") == "killed by signal 9 (SIGKILL)"

    async def test_it_is_told_what_its_yard_says_and_gets_its_secrets_and_nothing_of_the_yards(
        self, stage: Stage, engine: Engine, deaths: Deaths
    ) -> None:
        out = self.out(stage, "told")
        code = "open(out + '/seen', 'w').write(json.dumps([dict(os.environ), options]))"
        spec = replace(stage.spec(code, "told"), environment={"MINE": "1"}, secrets={"KEY": "hidden"}, concurrency=3)
        await engine.start(spec)
        assert await deaths.of("told") == "exited with code 0"
        seen, options = json.loads((out / "seen").read_text())
        assert (seen["MINE"], seen["KEY"]) == ("1", "hidden")
        assert "secret of the yard" not in seen.values()
        assert seen["HF_HOME"].startswith(str(spec.cache))
        assert (options["token"], options["concurrency"]) == ("t", 3)
        assert options["scratch"] == str(spec.scratch)

    async def test_its_cache_outlives_it_and_its_temporary_files_do_not(
        self, stage: Stage, engine: Engine, deaths: Deaths
    ) -> None:
        write = (
            "os.makedirs(os.environ['HF_HOME'], exist_ok=True)\n"
            "open(os.environ['HF_HOME'] + '/kept', 'w').write('x')\n"
            "open(os.environ['TMPDIR'] + '/lost', 'w').write('x')"
        )
        await engine.start(stage.spec(write, "first"))
        assert await deaths.of("first") == "exited with code 0"
        read = (
            "cache, temporary = os.environ['HF_HOME'], os.environ['TMPDIR']\n"
            "sys.exit(3 if os.path.exists(cache + '/kept') and not os.path.exists(temporary + '/lost') else 4)"
        )
        await engine.start(stage.spec(read, "second"))
        assert await deaths.of("second") == "exited with code 3"

    async def test_stop_gives_it_time_to_end_by_itself(self, stage: Stage, engine: Engine, deaths: Deaths) -> None:
        out = self.out(stage, "polite")
        await engine.start(stage.spec("open(out + '/up', 'w').write('x'); time.sleep(600)", "polite"))
        await until(out / "up")
        await engine.stop("polite", 20)
        assert await deaths.of("polite") == "exited with code 0"

    async def test_stop_ends_what_ignores_it_after_its_time(self, stage: Stage, engine: Engine, deaths: Deaths) -> None:
        out = self.out(stage, "deaf")
        code = (
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ignores\n"
            "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
            "open(out + '/up', 'w').write('x'); time.sleep(600)"
        )
        await engine.start(stage.spec(code, "deaf"))
        await until(out / "up")
        await engine.stop("deaf", 0.3)
        assert "deaf" in deaths.reasons
        assert await engine.list() == []

    async def test_what_is_gone_can_be_stopped_again(self, stage: Stage, engine: Engine, deaths: Deaths) -> None:
        await engine.start(stage.spec("pass", "gone"))
        await deaths.of("gone")
        await engine.stop("gone", 0)
        await engine.stop("never-was", 1)

    async def test_memory_beyond_its_limit_ends_it_and_is_said(
        self, stage: Stage, engine: Engine, deaths: Deaths
    ) -> None:
        code = "hold = []\nwhile True:\n    hold.append(bytearray(8 * 2**20)); time.sleep(0.01)"
        spec = replace(stage.spec(code, "greedy"), limits=Limits(memory_bytes=128 * MIB, cpus=1))
        await engine.start(spec)
        assert "out of memory" in await deaths.of("greedy")

    async def test_what_it_prints_where_no_link_carries_it_is_in_its_log(
        self, stage: Stage, engine: Engine, deaths: Deaths
    ) -> None:
        await engine.start(stage.spec("print('last words'); sys.exit('and a complaint')", "talker"))
        await deaths.of("talker")
        said = (stage.folder / "talker" / "instance.log").read_text()
        assert "last words" in said
        assert "and a complaint" in said

    async def test_another_engine_finds_what_lives_and_hears_of_its_death(self, stage: Stage, deaths: Deaths) -> None:
        first = stage.make(Deaths())
        handle = await first.start(stage.spec("time.sleep(600)", "survivor"))
        await first.close()
        second = stage.make(deaths)
        assert await second.list() == [handle]
        await second.stop("survivor", 0)
        assert await deaths.of("survivor")
        assert await second.list() == []
        await second.close()

    async def test_what_died_while_nobody_watched_is_not_listed(self, stage: Stage, deaths: Deaths) -> None:
        first = stage.make(Deaths())
        out = self.out(stage, "short")
        await first.start(stage.spec("open(out + '/up', 'w').write('x'); time.sleep(0.3)", "short"))
        await first.close()
        await until(out / "up")
        second = stage.make(deaths)
        for _ in range(100):
            listed = await second.list()
            if not listed:
                break
            await asyncio.sleep(0.1)
        assert listed == []
        await second.close()

    async def test_what_cannot_be_started_says_why_and_leaves_nothing(
        self, stage: Stage, engine: Engine, deaths: Deaths
    ) -> None:
        with pytest.raises(EngineError, match="nowhere"):
            await engine.start(stage.broken("broken"))
        assert await engine.list() == []
        assert deaths.reasons == {}
