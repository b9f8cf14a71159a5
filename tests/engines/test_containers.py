"""A yard that runs versions in containers: images pushed with Docker's own command, ours and those of the real Cog."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker_images
import httpx
import pytest

from tests.faults.yard import TERMINAL, TOKEN, Yard, free_port

OURS = """
import os, subprocess, sys, time
from cog import BaseRunner, ConcatenateIterator, Input, Path


class Runner(BaseRunner):
    def setup(self):
        print("setting up")

    def run(self, what: str = "world", seconds: float = 0, file: Path | None = Input(default=None)) -> Path:
        print("running", what)
        if what == "boom":
            raise ValueError("boom")
        if what == "die":
            os.kill(os.getpid(), 9)
        if what == "steal":
            link = "/tmp/out.txt"
            os.symlink("/etc/hostname", link)
            return Path(link)
        until = time.time() + seconds
        while time.time() < until:
            time.sleep(0.02)
        said = "" if file is None else open(file).read()
        with open("/tmp/out.txt", "w") as out:
            out.write("hello " + what + said + os.environ.get("GREETING", ""))
        return Path("/tmp/out.txt")
"""
OF_COG = """
import os, sys, time
from cog import BasePredictor, Input, Path


class Runner(BasePredictor):
    def setup(self):
        print("setting up")

    def predict(
        self,
        what: str = Input(default="world"),
        seconds: float = Input(default=0.0),
        file: Path | None = Input(default=None),
    ) -> Path:
        print("running", what)
        if what == "boom":
            print("just before", file=sys.stderr)
            raise ValueError("boom")
        if what == "die":
            os.kill(os.getpid(), 9)
        until = time.time() + seconds
        while time.time() < until:
            time.sleep(0.02)
        said = "" if file is None else open(file).read()
        with open("/tmp/out.txt", "w") as out:
            out.write("hello " + what + said + os.environ.get("GREETING", ""))
        return Path("/tmp/out.txt")
"""
STREAM_OF_COG = """
import time
import cog
from cog import BasePredictor, ConcatenateIterator


class Runner(BasePredictor):
    @cog.streaming
    def predict(self, n: int) -> ConcatenateIterator[str]:
        for number in range(n):
            print("tick", number)
            time.sleep(0.3)
            yield f"t{number} "
"""


ITERATOR_OF_COG = """
import asyncio
from typing import AsyncIterator
from cog import BasePredictor, Input


class Runner(BasePredictor):
    async def predict(self, n: int, fails: bool = Input(default=False)) -> AsyncIterator[str]:
        for number in range(n):
            print("tick", number)
            yield f"t{number}"
            await asyncio.sleep(0.3)
        if fails:
            raise ValueError("in the middle")
"""
# The first of them may have to make the base, and Cog's packages.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not below /tmp, which is another folder in a container."""
    if problem := docker_images.problem():
        pytest.skip(problem)
    folder = Path(tempfile.mkdtemp(prefix="yard-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


class ContainerYard(Yard):
    """A yard with the Docker engine."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        # What its containers and networks say that they are of.
        self._names: set[str] = set()

    def push(self, image: str, name: str) -> str:
        return docker_images.push(image, self.url, TOKEN, f"yard/{name}", self.folder / "docker")

    def ask(self, version: str, /, wait: int = 60, **values: Any) -> dict[str, Any]:
        headers = {"prefer": f"wait={wait}"} if wait else {}
        asked = self.http.post("/v1/predictions", json={"version": version, "input": values}, headers=headers)
        assert asked.status_code in (200, 201, 202), asked.text
        return asked.json()  # type: ignore[no-any-return]

    def get(self, prediction: str) -> dict[str, Any]:
        return self.http.get(f"/v1/predictions/{prediction}").json()  # type: ignore[no-any-return]

    def until(self, prediction: str, *statuses: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (found := self.get(prediction))["status"] not in statuses:
            assert time.monotonic() < deadline, f"{found}\n{self.log()}"
            time.sleep(0.05)
        return found

    def text(self, url: str) -> str:
        return self.http.get(url).text

    def networks(self) -> list[str]:
        """The names of the networks that are its own."""
        filters = [f"--filter=label=org.modelyard.yard={name}" for name in self._names]
        assert len(filters) == 1
        return docker_images.docker("network", "ls", "--format", "{{.Name}}", *filters).split()

    def clear(self) -> None:
        """Leave nothing of it behind."""
        self.end()
        for container in self.containers():
            docker_images.docker("rm", "--force", container)
        # Its own network alone: other tests may run beside these, and are about to use theirs.
        for name in self._names:
            docker_images.docker("network", "prune", "--force", "--filter", f"label=org.modelyard.yard={name}")

    def containers(self) -> list[str]:
        """The containers of this yard, by the folders that they see."""
        all_yards = docker_images.docker("ps", "--all", "--quiet", "--filter", "label=org.modelyard.yard").split()
        found = []
        for each in all_yards:
            with contextlib.suppress(AssertionError):  # another yard's may go meanwhile
                text = docker_images.docker("inspect", each)
                if str(self.data) in text:
                    found.append(each)
                    self._names.add(json.loads(text)[0]["Config"]["Labels"]["org.modelyard.yard"])
        return found


@pytest.fixture(scope="module")
def yard(folder: Path) -> Iterator[ContainerYard]:
    yard = ContainerYard(folder, settings={"MODELYARD_ENGINE": "docker"})
    try:
        yield yard.start()
    finally:
        yard.clear()


@pytest.fixture(scope="module")
def ours(yard: ContainerYard) -> str:
    config = {"environment": ["GREETING=!"]}
    return yard.push(docker_images.ours({"run.py": OURS}, "modelyard-test/ours:1", config=config), "ours")


@pytest.fixture(scope="module")
def of_cog(yard: ContainerYard) -> str:
    config = {"environment": ["GREETING=!"]}
    return yard.push(docker_images.of_cog({"run.py": OF_COG}, "modelyard-test/cog:1", config=config), "of-cog")


@pytest.fixture(params=["ours", "of_cog"])
def version(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def test_a_pushed_image_runs_in_a_container_and_gives_its_file(yard: ContainerYard, version: str) -> None:
    done = yard.ask(version, what="you")
    assert done["status"] == "succeeded", f"{done}\n{yard.log()}"
    assert yard.text(done["output"]) == "hello you!"
    assert "running you" in done["logs"]


def test_a_failing_one_fails_with_its_error_and_what_it_printed(yard: ContainerYard, version: str) -> None:
    done = yard.ask(version, what="boom")
    assert (done["status"], done["error"]) == ("failed", "ValueError: boom")
    assert "running boom" in done["logs"]


def test_a_canceled_one_is_canceled_and_the_next_one_runs(yard: ContainerYard, version: str) -> None:
    asked = yard.ask(version, wait=0, seconds=600)
    yard.until(asked["id"], "processing")
    yard.http.post(f"/v1/predictions/{asked['id']}/cancel")
    assert yard.until(asked["id"], *TERMINAL)["status"] == "canceled"
    assert yard.ask(version)["status"] == "succeeded"


def test_what_it_prints_is_seen_while_it_runs(yard: ContainerYard, version: str) -> None:
    asked = yard.ask(version, wait=0, what="slowly", seconds=600)
    deadline = time.monotonic() + 60
    while "running slowly" not in (yard.get(asked["id"])["logs"] or ""):
        assert time.monotonic() < deadline, yard.log()
        time.sleep(0.05)
    yard.http.post(f"/v1/predictions/{asked['id']}/cancel")
    yard.until(asked["id"], "canceled")


def test_a_file_of_the_yard_and_a_long_data_url_reach_it(yard: ContainerYard, version: str) -> None:
    made = yard.http.post("/v1/files", files={"content": ("a.txt", b" from a file", "text/plain")}).json()
    done = yard.ask(version, file=made["urls"]["get"])
    assert done["status"] == "succeeded", done
    assert yard.text(done["output"]) == "hello world from a file!"
    long = base64.b64encode(b"x" * 300_000).decode()
    done = yard.ask(version, file=f"data:text/plain;base64,{long}")
    assert done["status"] == "succeeded", done["error"]
    assert len(yard.text(done["output"])) == 300_000 + len("hello world!")


def test_a_worker_that_dies_fails_what_it_ran_and_another_one_comes(yard: ContainerYard, version: str) -> None:
    done = yard.ask(version, what="die")
    assert done["status"] == "failed"
    assert yard.ask(version)["status"] == "succeeded"


def test_work_goes_on_while_the_yard_is_away_and_is_taken_up(yard: ContainerYard, version: str) -> None:
    asked = yard.ask(version, wait=0, what="through", seconds=4)
    yard.until(asked["id"], "processing")
    before = yard.containers()
    yard.kill()
    time.sleep(1)
    yard.start()
    done = yard.until(asked["id"], *TERMINAL)
    assert done["status"] == "succeeded", f"{done}\n{yard.log()}"
    assert yard.text(done["output"]) == "hello through!"
    assert done["logs"].count("running through") == 1
    assert set(before) <= set(yard.containers())


def test_a_file_that_a_model_cannot_see_is_not_given_out_in_its_name(yard: ContainerYard, ours: str) -> None:
    done = yard.ask(ours, what="steal")
    # The worker copies what it may see: the container's own file, never this machine's.
    hostname = Path("/etc/hostname").read_text()
    assert done["status"] == "failed" or yard.text(done["output"]) != hostname


def test_a_streaming_image_of_cog_streams(yard: ContainerYard) -> None:
    image = docker_images.of_cog({"run.py": STREAM_OF_COG}, "modelyard-test/cog-stream:1")
    version = yard.push(image, "streaming")
    body = {"version": version, "input": {"n": 4}, "stream": True}
    asked = yard.http.post("/v1/predictions", json=body).json()
    came: list[tuple[float, str]] = []
    headers = {"accept": "text/event-stream"}
    with httpx.stream("GET", asked["urls"]["stream"], headers=headers, timeout=60) as stream:
        event = ""
        for line in stream.iter_lines():
            event = line.removeprefix("event:").strip() if line.startswith("event:") else event
            if event == "output" and line.startswith("data:"):
                came.append((time.monotonic(), line.removeprefix("data:").strip()))
    done = yard.until(asked["id"], *TERMINAL)
    assert (done["status"], done["output"]) == ("succeeded", ["t0 ", "t1 ", "t2 ", "t3 "])
    assert [text for _, text in came] == ["t0", "t1", "t2", "t3"]
    assert came[-1][0] - came[0][0] > 0.3, "they came together"
    assert "tick 3" in done["logs"]


def test_an_image_of_cog_runs_several_at_once_and_an_iterator_of_it_may_fail(yard: ContainerYard) -> None:
    config = {"concurrency": {"max": 2}}
    image = docker_images.of_cog({"run.py": ITERATOR_OF_COG}, "modelyard-test/cog-async:1", config=config)
    version = yard.push(image, "several")
    assert yard.ask(version, n=0)["output"] == []
    first, second = yard.ask(version, wait=0, n=20), yard.ask(version, wait=0, n=3, fails=True)
    done = yard.until(second["id"], *TERMINAL)
    assert yard.get(first["id"])["status"] == "processing", "they ran one after the other"
    assert (done["status"], done["error"]) == ("failed", "ValueError: in the middle")
    assert done["logs"] == "tick 0\ntick 1\ntick 2\n"
    yard.http.post(f"/v1/predictions/{first['id']}/cancel")
    assert yard.until(first["id"], *TERMINAL)["status"] == "canceled"


def test_an_image_whose_setup_fails_says_what_it_said(yard: ContainerYard) -> None:
    source = OURS.replace('print("setting up")', 'raise RuntimeError("bad weights")')
    version = yard.push(docker_images.ours({"run.py": source}, "modelyard-test/broken:1"), "broken")
    done = yard.ask(version)
    assert done["status"] == "failed"
    assert "bad weights" in done["error"]
    source = OF_COG.replace('print("setting up")', 'raise RuntimeError("bad weights")')
    version = yard.push(docker_images.of_cog({"run.py": source}, "modelyard-test/cog-broken:1"), "cog-broken")
    done = yard.ask(version)
    assert done["status"] == "failed"
    assert "bad weights" in done["error"]


def test_an_image_whose_command_ends_at_once_is_told_what_it_lacks(yard: ContainerYard) -> None:
    image = docker_images.of_cog({"run.py": OF_COG}, "modelyard-test/cog-ends:0")
    ends = docker_images.build(f'FROM {image}\nENTRYPOINT []\nCMD ["true"]\n', {}, {}, "modelyard-test/cog-ends:1")
    done = yard.ask(yard.push(ends, "cog-ends"))
    assert done["status"] == "failed"
    assert "exited with code 0: its command came to its end, where that of a model's image is a server" in done["error"]
    said = yard.command("logs", "yard/cog-ends").stdout
    assert "Setup failed: the worker exited with code 0: its command came to its end" in said


def test_a_yard_that_stops_leaves_no_container_without_work(yard: ContainerYard, ours: str) -> None:
    assert yard.ask(ours)["status"] == "succeeded"
    assert yard.containers()
    networks = yard.networks()
    assert len(networks) == 1
    interrupt(yard)
    assert yard.containers() == []
    assert yard.networks() == []
    yard.start()
    assert yard.ask(ours)["status"] == "succeeded"
    assert yard.networks() == networks
    # Whoever stops like this comes back: what has a container keeps its network.
    yard.process.terminate()
    yard.process.wait(60)
    assert yard.networks() == networks
    yard.start()
    assert yard.ask(ours)["status"] == "succeeded"


def test_both_kinds_of_images_run_over_tcp_and_without_outgoing_access(
    yard: ContainerYard, ours: str, of_cog: str
) -> None:
    plain = yard.environment
    over_tcp = {"MODELYARD_DOCKER_LINK": f"tcp:host.docker.internal:{free_port()}"}
    try:
        for settings in (over_tcp, {"MODELYARD_DOCKER_OUTGOING": "refuse"}):
            # Whoever stops like this leaves no container to the next life, which has other settings.
            interrupt(yard)
            assert yard.containers() == []
            yard.environment = {**plain, **settings}
            yard.start()
            for version in (ours, of_cog):
                done = yard.ask(version, what="you")
                assert done["status"] == "succeeded", f"{done}\n{yard.log()}"
                assert "running you" in done["logs"]
    finally:
        interrupt(yard)
        yard.environment = plain
        yard.start()


def interrupt(yard: ContainerYard) -> None:
    assert yard.process is not None
    yard.process.send_signal(signal.SIGINT)
    yard.process.wait(60)


def test_a_yard_whose_docker_engine_is_away_says_where_it_looked(folder: Path) -> None:
    below = folder / "away"
    below.mkdir()
    yard = Yard(below, settings={"MODELYARD_ENGINE": "docker", "DOCKER_HOST": f"unix://{below}/none.sock"})
    process = yard.launch()
    assert process.wait(60) == 1
    assert f"the Docker Engine does not answer at unix://{below}/none.sock" in yard.log()
    assert "Traceback" not in yard.log()
    yard.end()


def test_a_version_without_a_base_is_refused_and_what_to_do_is_said(yard: ContainerYard) -> None:
    source = {"run.py": OURS}
    image = docker_images.ours(source, "modelyard-test/no-base:1", more={"org.modelyard.lock": ""}, box=False)
    done = yard.ask(yard.push(image, "no-base"))
    assert done["status"] == "failed"
    assert "The version has no base, so that this yard, which runs containers, cannot run it." in done["error"]
    assert "MODELYARD_ENGINE=process" in done["error"]


def test_a_push_without_a_base_is_refused_at_once_unless_somebody_wants_it_so(
    yard: ContainerYard, tmp_path: Path
) -> None:
    (tmp_path / "cog.yaml").write_text('build:\n  python_version: "3.11"\nrun: "run.py:run"\n')
    (tmp_path / "run.py").write_text("def run(text: str) -> str:\n    return text\n")
    sentence = "the version has no base, so that this yard, which runs containers, cannot run it"
    told = {"cwd": tmp_path, "MODELYARD_BASE_IMAGE": "", "HOME": str(tmp_path)}
    refused = yard.command("push", "yard/without", **told)  # type: ignore[arg-type]
    assert (refused.returncode, refused.stdout) == (1, "")
    # It says why there is none: here, since the tests' yards want none.
    assert f"error: {sentence}: no base is wanted, as the yard's setting base_image says" in refused.stderr
    assert "`--base-image none` pushes it all the same" in refused.stderr
    assert yard.http.get("/v1/models/yard/without").status_code == 404
    insisted = yard.command("push", "yard/without", "--base-image", "none", **told)  # type: ignore[arg-type]
    assert insisted.returncode == 0, insisted.stderr
    assert f"warning: {sentence}\n" in insisted.stderr


def test_the_engines_image_of_a_deleted_version_is_shown_and_removed_and_others_stay(
    yard: ContainerYard, ours: str
) -> None:
    name = "modelyard-test/to-go:1"
    version = yard.push(docker_images.ours({"run.py": f"{OURS}# {'goes ' * 9}\n"}, name), "to-go")
    # The engine has it no more under the name by which it was built, and has to pull it.
    docker_images.docker("rmi", "--force", docker_images.docker("inspect", "--format", "{{.Id}}", name))
    assert yard.ask(version)["status"] == "succeeded"
    reference = f"{yard.url.removeprefix('http://')}/yard/to-go@sha256:{version}"

    def there() -> list[str]:
        told = docker_images.docker("images", "--digests", "--format", "{{.Repository}}@{{.Digest}}")
        return [line for line in told.splitlines() if line == reference]

    def listed() -> dict[str, bool]:
        found = yard.http.get("/v1/yard/images").json()["engine_images"]
        return {each["id"]: each["needed"] for each in found}

    assert there()
    assert listed()[version]
    assert yard.http.delete(f"/v1/models/yard/to-go/versions/{version}").status_code == 202
    assert not listed()[version]
    # What runs keeps its image, and a yard leaves what it remembers to have pulled a moment ago.
    for container in yard.containers():
        docker_images.docker("rm", "--force", container)
    yard.stop()
    yard.start()
    deadline = time.monotonic() + 30
    while there():
        assert time.monotonic() < deadline, yard.log()
        report = yard.http.post("/v1/yard/prune", json={}).json()
        time.sleep(0.2)
    assert {item["name"]: item["bytes"] > 0 for item in report["items"] if item["kind"] == "engine images"} == {
        f"yard/to-go:{version[:12]}": True
    }
    assert yard.ask(ours)["status"] == "succeeded"
