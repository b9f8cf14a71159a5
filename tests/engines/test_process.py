"""The engine of child processes: starts, stops, limits, deaths, and finding its instances again.

What it starts here is a program of a few lines in the place of the worker: the engine knows no more of it than its pid.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from deaths import Deaths

from modelyard.engines.base import EngineError, Limits, Spec
from modelyard.engines.process import ProcessEngine

PROGRAM = """
import json, os, sys, time
options = json.loads(os.environ["MODELYARD_WORKER"])
exec(options["ref"])
"""
GIB = 2**30


@pytest.fixture
def deaths() -> Deaths:
    return Deaths()


@pytest.fixture
def make_engine(tmp_path: Path, deaths: Deaths) -> Callable[[], ProcessEngine]:
    box = tmp_path / "box" / "modelyard_runner"
    box.mkdir(parents=True)
    (box / "__init__.py").touch()
    (box / "__main__.py").write_text(PROGRAM)
    inherited = {**os.environ, "MODELYARD_ADMIN_TOKEN": "secret of the yard"}
    return lambda: ProcessEngine(
        folder=tmp_path / "instances", box=[str(box.parent)], inherited=inherited, on_exit=deaths
    )


def make_spec(tmp_path: Path, code: str, *, name: str = "i", memory: int = GIB, **values: object) -> Spec:
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    return Spec(
        instance=name,
        python=Path(sys.executable),
        source=source,
        ref=code,
        scratch=tmp_path / "instances" / name,
        cache=tmp_path / "cache",
        link="unix:/nowhere",
        token="t",
        limits=Limits(memory_bytes=memory, cpus=1, gpus=("GPU-7",)),
        **values,  # type: ignore[arg-type]
    )


async def test_a_models_environment_is_an_allow_list(
    tmp_path: Path, make_engine: Callable[[], ProcessEngine], deaths: Deaths
) -> None:
    engine = make_engine()
    code = "open('seen.json', 'w').write(json.dumps(dict(os.environ)))"
    await engine.start(make_spec(tmp_path, code, environment={"MINE": "1"}))
    assert await deaths.of("i") == "exited with code 0"
    seen = json.loads((tmp_path / "source" / "seen.json").read_text())
    assert "secret of the yard" not in seen.values()
    assert seen["MINE"] == "1"
    assert seen["CUDA_VISIBLE_DEVICES"] == "GPU-7"
    assert seen["HF_HOME"].startswith(str(tmp_path / "cache"))
    await engine.close()


async def test_a_cache_folder_outlives_its_instance_and_a_scratch_folder_is_its_own(
    tmp_path: Path, make_engine: Callable[[], ProcessEngine], deaths: Deaths
) -> None:
    engine = make_engine()
    write = (
        "for name in ('HF_HOME', 'TORCH_HOME', 'XDG_CACHE_HOME', 'TMPDIR'):\n"
        "    os.makedirs(os.environ[name], exist_ok=True)\n"
        "    open(os.environ[name] + '/kept', 'w').write(name)"
    )
    await engine.start(make_spec(tmp_path, write, name="first"))
    assert await deaths.of("first") == "exited with code 0"
    await engine.stop("first", 0)
    assert await engine.list() == []
    read = (
        "for name in ('HF_HOME', 'TORCH_HOME', 'XDG_CACHE_HOME'):\n"
        "    assert open(os.environ[name] + '/kept').read() == name\n"
        "sys.exit(7 if os.listdir(os.environ['TMPDIR']) == [] else 8)"
    )
    await engine.start(make_spec(tmp_path, read, name="second"))
    assert await deaths.of("second") == "exited with code 7"
    await engine.close()


async def test_a_death_is_told_once_with_its_signal(
    tmp_path: Path, make_engine: Callable[[], ProcessEngine], deaths: Deaths
) -> None:
    engine = make_engine()
    handle = await engine.start(make_spec(tmp_path, "time.sleep(600)"))
    os.kill(handle.pid, signal.SIGKILL)
    assert await deaths.of("i") == "killed by signal 9 (SIGKILL)"
    await engine.close()


async def test_stop_ends_everything_that_it_started(
    tmp_path: Path, make_engine: Callable[[], ProcessEngine], deaths: Deaths
) -> None:
    engine = make_engine()
    code = (
        "import subprocess, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen(['sleep', '600'])\n"
        "subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "open('up', 'w').close()\n"
        "time.sleep(600)"
    )
    handle = await engine.start(make_spec(tmp_path, code))
    for _ in range(200):
        if (tmp_path / "source" / "up").exists():
            break
        await asyncio.sleep(0.02)
    children = psutil.Process(handle.pid).children(recursive=True)
    assert len(children) == 2
    await engine.stop("i", 0.2)
    assert await deaths.of("i")
    _, alive = psutil.wait_procs(children, timeout=3)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    await engine.close()


async def test_memory_beyond_the_limit_ends_an_instance_and_says_so(
    tmp_path: Path, make_engine: Callable[[], ProcessEngine], deaths: Deaths
) -> None:
    engine = make_engine()
    code = "hold = []\nwhile True:\n    hold.append(bytearray(8 * 2**20)); time.sleep(0.01)"
    await engine.start(make_spec(tmp_path, code, memory=200 * 2**20))
    assert "out of memory" in await deaths.of("i")
    await engine.close()


async def test_another_engine_on_the_same_folder_finds_and_watches_what_lives(
    tmp_path: Path, make_engine: Callable[[], ProcessEngine], deaths: Deaths
) -> None:
    first = make_engine()
    handle = await first.start(make_spec(tmp_path, "time.sleep(600)"))
    await first.start(make_spec(tmp_path, "pass", name="gone"))
    await deaths.of("gone")
    await first.close()
    second = make_engine()
    assert await second.list() == [handle]
    await second.stop("i", 0)
    assert await deaths.of("i")
    assert await second.list() == []
    await second.close()


async def test_a_python_that_is_missing_is_said(tmp_path: Path, make_engine: Callable[[], ProcessEngine]) -> None:
    spec = make_spec(tmp_path, "pass")
    broken = Spec(**{**{field: getattr(spec, field) for field in Spec.__slots__}, "python": tmp_path / "no-python"})
    with pytest.raises(EngineError, match="no-python"):
        await make_engine().start(broken)


async def test_folders_are_shown_at_their_targets_and_src_is_the_source(
    tmp_path: Path, make_engine: Callable[[], ProcessEngine], deaths: Deaths
) -> None:
    code = "open('seen.json', 'w').write(json.dumps(options['mounts']))"
    folders = [(tmp_path / "one", "/src/weights/one"), (tmp_path / "two", "/models/two")]
    await make_engine().start(make_spec(tmp_path, code, folders=folders))
    assert await deaths.of("i") == "exited with code 0"
    source = tmp_path / "source"
    assert json.loads((source / "seen.json").read_text()) == [
        {"source": str(tmp_path / "one"), "target": f"{source}/weights/one"},
        {"source": str(tmp_path / "two"), "target": "/models/two"},
        {"source": str(source), "target": "/src", "writable": True},
    ]
    assert (source / "weights" / "one").is_dir()
    assert not Path("/models").exists()
