"""Both engines keep the same promises; and what only containers do."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker_images
import pytest
from deaths import Deaths
from engines_suite import PROGRAM, EnginesSuite, Stage, until

from modelyard.engines.base import Engine, Image, Limits, OnExit, Spec
from modelyard.engines.docker.connection import Connection, address
from modelyard.engines.docker.container import Site
from modelyard.engines.docker.engine import DockerEngine, own_user
from modelyard.engines.process import ProcessEngine

GIB = 2**30
IMAGE = "modelyard-test/program:1"


def make_spec(folder: Path, code: str, name: str) -> Spec:
    source = folder.parent / "source"
    source.mkdir(exist_ok=True)
    return Spec(
        instance=name,
        python=Path(sys.executable),
        source=source,
        ref=code,
        scratch=folder / name,
        cache=folder.parent / "cache",
        link="unix:/nowhere",
        token="t",
        limits=Limits(memory_bytes=GIB, cpus=1),
    )


class ProcessStage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "instances"
        package = folder / "box" / "modelyard_runner"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(PROGRAM)
        self._box = [str(package.parent)]

    def make(self, on_exit: OnExit) -> Engine:
        inherited = {**os.environ, "MODELYARD_ADMIN_TOKEN": "secret of the yard"}
        return ProcessEngine(folder=self.folder, box=self._box, inherited=inherited, on_exit=on_exit)

    def spec(self, code: str, name: str) -> Spec:
        return make_spec(self.folder, code, name)

    def broken(self, name: str) -> Spec:
        return replace(self.spec("pass", name), python=Path("/nowhere/python"))


class DockerStage:
    def __init__(self, folder: Path, image: str) -> None:
        self.folder = folder / "instances"
        self.folder.mkdir()
        self._image = image
        self.site = Site(yard=f"test-{os.getpid()}-{folder.name}"[:40], user=own_user(), socket=None)

    def make(self, on_exit: OnExit) -> DockerEngine:
        connection = Connection(address(os.environ))
        return DockerEngine(connection=connection, folder=self.folder, site=self.site, box=[], on_exit=on_exit)

    def spec(self, code: str, name: str) -> Spec:
        return replace(make_spec(self.folder, code, name), image=Image(reference=self._image))

    def broken(self, name: str) -> Spec:
        return replace(self.spec("pass", name), image=Image(reference="modelyard-test/nowhere:1"))


@pytest.fixture(scope="session")
def program_image() -> str:
    if problem := docker_images.problem():
        pytest.skip(problem)
    dockerfile = f"""\
FROM {docker_images.base()}
RUN ln -s /usr/bin/python3 /usr/local/bin/python
COPY box /opt/modelyard/box
ENV PYTHONPATH=/opt/modelyard/box MODELYARD_ADMIN_TOKEN=
WORKDIR /src
"""
    box = {"box/modelyard_runner/__init__.py": "", "box/modelyard_runner/__main__.py": PROGRAM}
    return docker_images.build(dockerfile, box, {}, IMAGE)


@pytest.fixture
def docker_stage(program_image: str) -> Iterator[DockerStage]:
    # Not below /tmp, which is another folder in a container.
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/var/tmp"))
    stage = DockerStage(folder, program_image)
    yield stage
    # Nothing of it is left: an engine that leaks fails its test.
    left = docker_images.docker("ps", "--all", "--quiet", "--filter", f"label=org.modelyard.yard={stage.site.yard}")
    if left:
        docker_images.docker("rm", "--force", *left.split())
    networks = docker_images.docker("network", "ls", "--quiet", "--filter", f"name={stage.site.network}")
    if networks:
        docker_images.docker("network", "rm", *networks.split())
    shutil.rmtree(folder)
    assert not left, "containers were left behind"


class TestProcess(EnginesSuite):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> Stage:
        return ProcessStage(tmp_path)


@pytest.mark.timeout(400)  # the first of them may have to make the base
class TestDocker(EnginesSuite):
    @pytest.fixture
    def stage(self, docker_stage: DockerStage) -> Stage:
        return docker_stage

    async def run(self, stage: DockerStage, code: str, deaths: Deaths, name: str = "probe") -> str:
        """What the code writes as `said`."""
        out = self.out(stage, name)
        engine = stage.make(deaths)
        await engine.start(stage.spec(f"said = None\n{code}\nopen(out + '/said', 'w').write(json.dumps(said))", name))
        await deaths.of(name)
        await engine.close()
        log = stage.folder / name / "instance.log"
        assert (out / "said").exists(), log.read_text()
        return str(json.loads((out / "said").read_text()))

    async def test_a_container_has_no_privilege_to_gain(self, docker_stage: DockerStage, deaths: Deaths) -> None:
        code = "said = [l for l in open('/proc/self/status') if l.startswith(('CapEff', 'CapBnd', 'NoNewPrivs'))]"
        said = await self.run(docker_stage, code, deaths)
        assert said.count("0000000000000000") == 2
        assert "NoNewPrivs:\\t1" in said

    async def test_a_container_writes_where_its_instance_may_and_nowhere_else(
        self, docker_stage: DockerStage, deaths: Deaths
    ) -> None:
        code = (
            "import errno\nsaid = []\n"
            "for path in ('/src/x', '/etc/x', options['scratch'] + '/instance.log', options['scratch'] + '/inputs/x',\n"
            "             options['scratch'] + '/predictions/x', '/tmp/x', '/dev/shm/x'):\n"
            "    try:\n"
            "        open(path, 'w').close(); said.append('yes')\n"
            "    except OSError as error:\n"
            "        said.append(errno.errorcode[error.errno])"
        )
        assert await self.run(docker_stage, code, deaths) == str(["EROFS"] * 4 + ["yes"] * 3)

    async def test_a_container_sees_nothing_of_the_data_folder_but_what_is_its_own(
        self, docker_stage: DockerStage, deaths: Deaths
    ) -> None:
        (docker_stage.folder.parent / "secret.key").write_text("the yard's")
        self.out(docker_stage, "another")
        code = (
            "instances = os.path.dirname(options['scratch'])\n"
            "said = sorted(os.listdir(os.path.dirname(instances))) + os.listdir(instances)"
        )
        assert await self.run(docker_stage, code, deaths) == str(["cache", "instances", "probe"])

    async def test_processes_are_limited(self, docker_stage: DockerStage, deaths: Deaths) -> None:
        code = (
            "said, pids = 0, []\n"
            "try:\n"
            "    while said < 2000:\n"
            "        pid = os.fork()\n"
            "        if not pid: time.sleep(60); os._exit(0)\n"
            "        pids.append(pid); said += 1\n"
            "except OSError:\n"
            "    pass\n"
            "for pid in pids: os.kill(pid, 9)\n"
            "for pid in pids: os.waitpid(pid, 0)"
        )
        assert 300 < int(await self.run(docker_stage, code, deaths)) < 800

    async def test_without_outgoing_access_a_container_has_no_network_at_all(
        self, docker_stage: DockerStage, deaths: Deaths
    ) -> None:
        docker_stage.site = replace(docker_stage.site, outgoing=False, socket=docker_stage.folder)
        code = "import socket; said = [name for _, name in socket.if_nameindex()]"
        assert "eth0" not in await self.run(docker_stage, code, deaths)

    async def test_containers_of_a_yard_do_not_reach_each_other(
        self, docker_stage: DockerStage, deaths: Deaths
    ) -> None:
        engine = docker_stage.make(deaths)
        out = self.out(docker_stage, "listener")
        code = (
            "import socket, threading\nserver = socket.create_server(('', 4000))\n"
            "open(out + '/at', 'w').write(socket.gethostbyname(socket.gethostname()))\ntime.sleep(600)"
        )
        await engine.start(docker_stage.spec(code, "listener"))
        at = await until(out / "at")
        ask = (
            "import socket\ntry:\n    socket.create_connection(("
            f"{at!r}, 4000), timeout=2); said = 'reached'\nexcept OSError as error:\n    said = 'not reached'"
        )
        assert await self.run(docker_stage, ask, deaths) == "not reached"
        await engine.stop("listener", 0)
        await engine.close()

    async def test_a_secret_is_not_in_what_the_engine_tells_of_a_container(
        self, docker_stage: DockerStage, deaths: Deaths
    ) -> None:
        engine = docker_stage.make(deaths)
        spec = replace(docker_stage.spec("time.sleep(600)", "quiet"), secrets={"KEY": "a-hidden-key"}, token="a-token")
        await engine.start(spec)
        told = docker_images.docker("inspect", "modelyard-quiet")
        assert "a-hidden-key" not in told
        assert "a-token" not in told
        await engine.stop("quiet", 0)
        await engine.close()

    async def test_a_container_that_was_made_and_never_started_is_taken_away(
        self, docker_stage: DockerStage, deaths: Deaths
    ) -> None:
        label = f"org.modelyard.yard={docker_stage.site.yard}"
        docker_images.docker("create", "--label", label, "--label", "org.modelyard.instance=lost", IMAGE, "python")
        engine = docker_stage.make(deaths)
        assert await engine.list() == []
        assert docker_images.docker("ps", "--all", "--quiet", "--filter", f"label={label}") == ""
        await engine.close()

    async def test_a_container_that_somebody_removed_is_told_as_gone(
        self, docker_stage: DockerStage, deaths: Deaths
    ) -> None:
        engine = docker_stage.make(deaths)
        await engine.start(docker_stage.spec("time.sleep(600)", "taken"))
        docker_images.docker("rm", "--force", "modelyard-taken")
        assert await deaths.of("taken")
        await engine.close()

    async def test_the_containers_of_another_yard_are_left_alone(
        self, docker_stage: DockerStage, deaths: Deaths
    ) -> None:
        engine = docker_stage.make(deaths)
        await engine.start(docker_stage.spec("time.sleep(600)", "mine"))
        others = DockerStage.__new__(DockerStage)
        others.folder, others.site = docker_stage.folder, replace(docker_stage.site, yard="another")
        other = others.make(deaths)
        assert await other.list() == []
        await other.close()
        assert [handle.instance for handle in await engine.list()] == ["mine"]
        await engine.stop("mine", 0)
        await engine.close()
