"""The yard as an image, and a team's yard in containers: `deploy/Dockerfile`, `deploy/compose`.

PostgreSQL is Debian's own in an image that is told the same things as the one that the file names.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import certificates
import docker_images
import httpx
import pytest
import yard_images

from tests.engines.test_containers import OF_COG, OURS
from tests.faults.yard import TOKEN, Yard, free_port
from tests.operations.composed import DEPLOY, IN_BUCKET, SOCKET, Composed

# The first of them may have to make the images.
pytestmark = pytest.mark.timeout(600)

LOCKS = Path(__file__).parents[2] / "requirements"
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "team.md"
ALL = ("compose.yaml", "compose.docker.yaml", "compose.tls.yaml")
SLOW = """
import time
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, text: str, seconds: float) -> str:
        print("began")
        time.sleep(seconds)
        return text
"""


@pytest.fixture(scope="module")
def images() -> None:
    if problem := docker_images.problem():
        pytest.skip(problem)
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is wanted: apt-get install docker-compose")
    yard_images.make()


@pytest.fixture(scope="module")
def team(images: None) -> Iterator[Composed]:
    with tempfile.TemporaryDirectory(prefix="yard-", dir="/var/tmp") as folder:
        # What runs is not waited for: it is to go on while there is no yard.
        yard = Composed(Path(folder), ALL[:2], MODELYARD_DRAIN_SECONDS="1")
        try:
            yard.up()
            yield yard
        finally:
            yard.clear()


def push(yard: Composed, image: str, name: str) -> str:
    return docker_images.push(image, yard.url, TOKEN, f"yard/{name}", yard.folder / "docker")


@pytest.mark.parametrize("kind", ["ours", "of_cog"])
def test_work_goes_on_through_an_upgrade_and_is_taken_up_by_the_next_image(team: Composed, kind: str) -> None:
    source = {"run.py": OURS if kind == "ours" else OF_COG}
    image = (docker_images.ours if kind == "ours" else docker_images.of_cog)(source, f"modelyard-test/{kind}:1")
    version = push(team, image, kind.replace("_", "-"))
    done = team.ask(version, what="you")
    assert done["status"] == "succeeded", f"{done}\n{team.log()}"
    assert team.http.get(done["output"]).text == "hello you"
    assert "running you" in done["logs"]

    asked = team.ask(version, wait=0, what="through", seconds=10)
    team.until(asked["id"], "processing")
    before, models = team.container(), team.of_models()
    assert len(models) >= (1 if kind == "ours" else 2)
    former = team.variables["MODELYARD_IMAGE"]
    team.variables["MODELYARD_IMAGE"] = yard_images.YARD if former == yard_images.NEXT else yard_images.NEXT
    # The old yard waits a second for it, and is gone: who has it to its end is the new one.
    team.up()
    assert team.container() != before
    done = team.finished(asked["id"])
    assert done["status"] == "succeeded", f"{done}\n{team.log()}"
    began = docker_images.docker("inspect", "--format", "{{.State.StartedAt}}", team.container())
    assert done["completed_at"] > began
    assert team.http.get(done["output"]).text == "hello through"
    assert done["logs"].count("running through") == 1
    assert models <= team.of_models()
    assert team.ask(version, what="again")["status"] == "succeeded"


def test_a_container_of_cog_that_dies_takes_what_drives_it_along_and_another_pair_comes(team: Composed) -> None:
    version = push(team, docker_images.of_cog({"run.py": OF_COG}, "modelyard-test/of_cog:1"), "pairs")
    before = team.of_models()
    assert team.ask(version)["status"] == "succeeded"
    first = team.of_models() - before
    assert len(first) == 2
    assert team.ask(version, what="die")["status"] == "failed"
    assert team.ask(version)["status"] == "succeeded"
    assert not first & team.of_models()
    asked = team.ask(version, wait=0, seconds=600)
    team.until(asked["id"], "processing")
    team.http.post(f"/v1/predictions/{asked['id']}/cancel")
    assert team.finished(asked["id"])["status"] == "canceled"


def test_what_a_team_keeps_is_in_postgresql_and_a_volume_and_outlives_the_containers(team: Composed) -> None:
    version = push(team, docker_images.ours({"run.py": OURS}, "modelyard-test/ours:1"), "kept")
    made = team.http.post("/v1/files", files={"content": ("a.txt", b"kept", "text/plain")}).json()
    exposed = team.http.get("/metrics").text
    assert 'database="postgres"' in exposed
    team.compose("rm", "--stop", "--force")
    team.up()
    done = team.ask(version, file=made["urls"]["get"])
    assert team.http.get(done["output"]).text == "hello worldkept"


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo pulls every byte: apt-get install skopeo")
def test_with_a_bucket_the_yard_moves_into_it_and_finds_all_in_it_when_both_are_replaced(
    images: None, tmp_path: Path
) -> None:
    yard = Composed(tmp_path, ALL[:2], MODELYARD_DRAIN_SECONDS="1")
    try:
        yard.up()
        version = push(yard, docker_images.ours({"run.py": OURS}, "modelyard-test/ours:1"), "kept")
        before = yard.http.post("/v1/files", files={"content": ("a.txt", b"before", "text/plain")}).json()
        assert kept(yard, "modelyard/blobs") > 0

        yard.variables["COMPOSE_FILE"] += f":{IN_BUCKET}"
        yard.up()
        assert "to s3://yard at http://s3:8080" in yard.compose("logs", "--no-color", "yard")
        assert kept(yard, "modelyard/blobs") == 0
        after = yard.http.post("/v1/files", files={"content": ("a.txt", b"after", "text/plain")}).json()
        outputs = [yard.ask(version, file=each["urls"]["get"])["output"] for each in (before, after)]
        assert [yard.http.get(each).text for each in outputs] == ["hello worldbefore", "hello worldafter"]

        # What is pushed now goes into the bucket, and comes out of it.
        image = docker_images.ours({"run.py": OURS + "# in a bucket\n"}, "modelyard-test/ours-in-bucket:1")
        pushed = push(yard, image, "pushed")
        assert yard.ask(pushed)["status"] == "succeeded"
        assert pull(yard, "pushed") == pushed

        yard.compose("rm", "--stop", "--force")
        yard.up()
        assert [yard.http.get(each).text for each in outputs] == ["hello worldbefore", "hello worldafter"]
        assert yard.ask(version, file=before["urls"]["get"])["status"] == "succeeded"
        stranger = ["env", "-u", "RCLONE_S3_SECRET_ACCESS_KEY", "rclone", "lsf", "--retries=1", ":s3:yard"]
        refused = subprocess.run(["docker", "exec", yard.container("s3"), *stranger], capture_output=True, check=False)
        assert refused.returncode != 0
    finally:
        yard.clear()


def pull(yard: Composed, name: str) -> str:
    """Copy every byte of an image with skopeo, which compares the sums; the digest of its manifest."""
    place = f"docker://{yard.url.removeprefix('http://')}/yard/{name}:latest"
    command = ["skopeo", "copy", "--preserve-digests", "--src-tls-verify=false", f"--src-creds=yard:{TOKEN}", place]
    into = yard.folder / "pulled"
    done = subprocess.run([*command, f"dir:{into}"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return hashlib.sha256((into / "manifest.json").read_bytes()).hexdigest()


def kept(yard: Composed, folder: str) -> int:
    """How many files there are in a folder of the yard's."""
    count = f"find /var/lib/{folder} -type f | wc -l"
    return int(docker_images.docker("exec", yard.container(), "sh", "-c", count))


def test_the_guides_commands_in_the_container_reach_the_yard(team: Composed) -> None:
    lines = re.findall(r"^\$ docker compose (exec -T yard sh -c) '(.+)'", GUIDE.read_text(), re.MULTILINE)
    (words, status), (_, backup) = lines
    assert "ready" in team.compose(*words.split(), status)
    assert team.compose(*words.split(), f"{backup} | tar --list").strip()


def test_the_yard_runs_as_nobody_in_particular_and_says_how_it_is(team: Composed) -> None:
    container = team.container()
    shown = json.loads(docker_images.docker("inspect", container))[0]
    assert shown["Config"]["User"] == "9273:9273"
    assert docker_images.docker("exec", container, "id", "-u") == "9273"
    assert shown["State"]["Health"]["Status"] == "healthy"
    look = ["docker", "exec", container, "/opt/modelyard/bin/python", "/opt/modelyard/healthy.py"]
    assert subprocess.run(look, capture_output=True, timeout=60, check=False).returncode == 0
    tell(container, "STOP")
    try:
        done = subprocess.run(look, capture_output=True, text=True, timeout=60, check=False)
    finally:
        tell(container, "CONT")
    assert done.returncode == 1
    assert "not ready" in done.stderr


def tell(container: str, signal: str) -> None:
    """Send the yard's process in it a signal, and not what it is the child of."""
    command = f"kill -{signal} $(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' /var/lib/modelyard/yard.lock)"
    docker_images.docker("exec", container, "sh", "-c", command)


def test_who_lacks_a_line_in_the_settings_is_told_which(images: None, tmp_path: Path) -> None:
    yard = Composed(tmp_path, (*ALL, IN_BUCKET))
    for name in ("MODELYARD_ADMIN_TOKEN", "POSTGRES_PASSWORD", "DOCKER_GID", "S3_PASSWORD"):
        kept = yard.variables.pop(name)
        with pytest.raises(AssertionError, match=r"is not in \.env"):
            yard.compose("config", "--quiet")
        yard.variables[name] = kept
    yard.compose("config", "--quiet")


def test_the_guides_commands_fill_in_the_example_and_both_generations_of_compose_read_it(
    images: None, tmp_path: Path
) -> None:
    # `$ cp -r deploy/compose …` and what follows it, in a folder of the test.
    block = GUIDE.read_text().partition("$ cp -r deploy/compose ")[2].partition("```")[0]
    folder, *commands = [line.removeprefix("$ ") for line in block.splitlines()]
    assert folder == "/srv/yard && cd /srv/yard"
    shutil.copytree(DEPLOY, tmp_path, dirs_exist_ok=True)
    subprocess.run(["sh", "-euc", "\n".join(commands)], cwd=tmp_path, check=True)
    settings = (tmp_path / ".env").read_text()
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert re.search(r"^MODELYARD_ADMIN_TOKEN=r8_[A-Za-z0-9]{37}$", settings, re.MULTILINE)
    assert re.search(r"^POSTGRES_PASSWORD=[A-Za-z0-9]{32}$", settings, re.MULTILINE)
    assert re.search(r"^S3_PASSWORD=[A-Za-z0-9]{32}$", settings, re.MULTILINE)
    assert re.findall(r"^(\w+)=$", settings, re.MULTILINE) == ["MODELYARD_BASE_IMAGE"]  # which has a default
    newer = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    for command in [["docker-compose"], *([["docker", "compose"]] if newer else [])]:
        done = subprocess.run([*command, "config"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "https://yard.example.org" in done.stdout


def test_a_colleague_trusts_the_authority_then_logs_in_and_pushes(images: None, tmp_path: Path) -> None:
    # Docker asks no certificate of 127.0.0.1; the address of its bridge is another machine to it.
    address = docker_images.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    (tmp_path / "tls").mkdir()
    pair, authority = certificates.make_issued(tmp_path / "tls", address)
    for file in pair[:2]:
        shutil.chown(file, 9273, 9273)
        file.chmod(0o600)
    yard = Composed(
        tmp_path, (ALL[0], ALL[2]), f"https://{address}", YARD_ADDRESS="0.0.0.0", MODELYARD_PRIVATE_ADDRESSES="allow"
    )
    host = f"{address}:{yard.port}"
    trusted = Path("/etc/docker/certs.d") / host
    config = tmp_path / "colleague"

    def login() -> subprocess.CompletedProcess[str]:
        command = ["docker", "--config", str(config), "login", host, "--username", "yard", "--password-stdin"]
        return subprocess.run(command, input=TOKEN, capture_output=True, text=True, timeout=60, check=False)

    try:
        yard.up()
        stranger = login()
        assert stranger.returncode != 0
        assert "certificate" in stranger.stderr
        trusted.mkdir(parents=True)
        shutil.copy(authority, trusted / "ca.crt")
        known = login()
        assert known.returncode == 0, known.stderr
        image = docker_images.ours({"run.py": OURS}, "modelyard-test/ours:1")
        docker_images.docker("tag", image, f"{host}/yard/pushed:latest")
        docker_images.docker("push", "--quiet", f"{host}/yard/pushed:latest", config=config)
        docker_images.docker("rmi", f"{host}/yard/pushed:latest")
        with httpx.Client(
            base_url=yard.url,
            verify=ssl.create_default_context(cafile=str(authority)),
            headers={"authorization": f"Bearer {TOKEN}"},
        ) as asks:
            model = asks.get("/v1/models/yard/pushed").json()
        assert model["latest_version"]["id"]
        assert model["url"].startswith(yard.url)
    finally:
        yard.clear()
        shutil.rmtree(trusted, ignore_errors=True)


def test_the_image_takes_the_versions_that_everything_else_was_tested_with() -> None:
    pins = {
        name: set(re.findall(r"^([a-z0-9-]+==[^ ;\\]+)", (LOCKS / name).read_text(), re.MULTILINE))
        for name in ("dev.lock", "bootstrap.lock", "yard.lock", "build.lock")
    }
    tested = pins["dev.lock"] | pins["bootstrap.lock"]
    assert len(pins["yard.lock"]) > 30
    assert pins["yard.lock"] | pins["build.lock"] <= tested


@dataclass(frozen=True)
class Alone:
    """A yard of the image without compose, with SQLite and processes; `yard` has the commands that speak to it."""

    yard: Yard
    name: str

    def until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if self.yard.http.get("/healthz").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, docker_images.docker("logs", self.name)
            time.sleep(0.2)


@pytest.fixture
def alone(images: None, tmp_path: Path) -> Iterator[Alone]:
    found = Alone(Yard(tmp_path), f"modelyard-test-alone-{free_port()}")
    variables = {
        "MODELYARD_ADMIN_TOKEN": TOKEN,
        "MODELYARD_PUBLIC_URL": found.yard.url,
        "MODELYARD_DRAIN_SECONDS": "1",
    }
    given = [f"--env={name}={value}" for name, value in variables.items()]
    published = f"--publish=127.0.0.1:{found.yard.port}:9273"
    docker_images.docker("run", "--detach", "--init", "--name", found.name, published, *given, yard_images.YARD)
    try:
        found.until_ready()
        yield found
    finally:
        found.yard.end()
        docker_images.docker("rm", "--force", "--volumes", found.name)


def test_the_image_alone_runs_what_yard_push_sends_it_and_begins_again_what_ended_with_it(alone: Alone) -> None:
    version = alone.yard.push("slow", SLOW)
    asked = alone.yard.create(version, {"text": "hi", "seconds": 5})
    alone.yard.until(asked["id"], lambda shown: "began" in (shown["logs"] or ""))
    docker_images.docker("restart", "--time", "60", alone.name)
    alone.until_ready()
    done = alone.yard.finished(asked["id"])
    assert (done["status"], done["output"], done["logs"]) == ("succeeded", "hi", "began\n")


def test_a_data_folder_that_the_engine_cannot_see_is_refused_at_the_start(images: None) -> None:
    socket = f"{SOCKET}:{SOCKET}"
    gone = ["--tmpfs", "/var/lib/modelyard:uid=9273,mode=700", "--volume", socket, "--user", "0:0"]
    command = ["docker", "run", "--rm", "--init", *gone, yard_images.YARD, "up", "--engine", "docker"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "its folder /var/lib/modelyard/instances is on no volume of it" in done.stderr
    assert "Traceback" not in done.stderr
