"""`yard run IMAGE` and `yard train IMAGE`: images of ours and of the real Cog, run by the real Docker Engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bases
import docker_images
import pytest
import yard_process
from docker_images import docker
from yard_process import Run, Server

# The first of these on a machine makes a Debian, and Cog's packages.
pytestmark = pytest.mark.timeout(400)
NAME = f"modelyard-test-run-{os.getpid()}"
RUN = """
import os, sys, time
from cog import BaseRunner, Input, Path, current_scope


class Runner(BaseRunner):
    def setup(self) -> None:
        print("setting up", file=sys.stderr)
        if os.environ.get("HOW") == "fails":
            raise ValueError("no weights here")
        if os.environ.get("HOW") == "hangs":
            time.sleep(600)

    def run(self, text: str, file: Path = Input(default=None), seconds: float = 0) -> list[Path]:
        print("running")
        time.sleep(seconds)
        for name in "ab":
            with open(f"/tmp/{name}.txt", "w") as out:
                out.write(f"{text} {name} {os.getcwd()} {file and open(file).read()} {os.environ.get('HOW')}")
        return [Path("/tmp/a.txt"), Path("/tmp/b.txt")]
"""
ASKS = """
from cog import BaseRunner, current_scope


class Runner(BaseRunner):
    def run(self) -> str:
        return str(current_scope().context)
"""
TRAIN = """
from cog import Path


def train(n: int) -> Path:
    with open("/tmp/tuned.bin", "w") as out:
        out.write("x" * n)
    return Path("/tmp/tuned.bin")
"""
OF_COG = """
import os
from cog import BasePredictor, Input, Path


class Runner(BasePredictor):
    def setup(self):
        print("setting up")

    def predict(self, text: str = Input(description="Any"), fails: bool = False) -> Path:
        print("running")
        if fails:
            raise ValueError("as it was told")
        with open("/tmp/out.md", "w") as out:
            out.write("cog " + text)
        return Path("/tmp/out.md")
"""


@pytest.fixture(scope="module")
def base() -> Path:
    bases.require_engine()
    return bases.debian()


@pytest.fixture(scope="module")
def built(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of a project that is nowhere near where it is run."""
    folder = tmp_path_factory.mktemp("image")
    write(folder, base)
    done = yard_process.run("build", "-t", NAME, home=folder, cwd=folder, MODELYARD_BASE_IMAGE=f"oci:{base}")
    assert done.returncode == 0, done.stderr
    yield NAME
    subprocess.run(["docker", "rmi", "-f", NAME], capture_output=True, check=False)


def write(folder: Path, base: Path, *more: str, code: str = RUN) -> None:
    folder.mkdir(exist_ok=True)
    lines = [
        "build:",
        f'  python_version: "{bases.python_of(base)}"',
        *more,
        "run: run.py:Runner",
        "train: train.py:train",
    ]
    (folder / "cog.yaml").write_text("\n".join([*lines, ""]))
    (folder / "run.py").write_text(code)
    (folder / "train.py").write_text(TRAIN)


@pytest.fixture(scope="module")
def of_cog() -> str:
    bases.require_engine()
    return docker_images.of_cog({"run.py": OF_COG}, "modelyard-test-run-cog:1")


def left(image: str) -> list[str]:
    """The containers of an image that are still there."""
    return docker("ps", "--all", "--quiet", "--filter", f"ancestor={image}").split()


def test_an_image_runs_from_any_folder_and_leaves_nothing(yard: Run, built: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("some bytes")
    done = yard("run", built, "-i", "text=hello", "-i", "file=@in.txt", "-e", "HOW=given", "-o", "made.out")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    said = done.stderr
    order = ["Starting Docker image and running setup()...", "\nsetting up\n", "Running prediction...", "\nrunning\n"]
    assert [said.index(each) for each in order] == sorted(said.index(each) for each in order)
    assert "Written output to: made.0.out\nWritten output to: made.1.out\n" in said
    assert (tmp_path / "made.1.out").read_text() == "hello b /src some bytes given"
    assert left(built) == []


def test_inputs_are_refused_before_anything_is_started(yard: Run, built: str) -> None:
    done = yard("run", built, "-i", "nope=1")
    assert done.returncode == 2
    assert 'unknown input "nope"; valid inputs are: file, seconds, text' in done.stderr
    assert "Starting Docker image" not in done.stderr


@pytest.mark.parametrize(
    ("how", "flags", "said"),
    [
        ("fails", (), "error: Model setup failed\n"),
        (
            "hangs",
            ("--setup-timeout", "3"),
            "error: Timed out: the model's setup took longer than 3 seconds\nhint: --se",
        ),
    ],
)
def test_a_setup_that_comes_to_nothing_is_told(
    how: str, flags: tuple[str, ...], said: str, yard: Run, built: str
) -> None:
    done = yard("run", built, "-i", "text=x", "-e", f"HOW={how}", *flags)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "setting up" in done.stderr
    assert how != "fails" or "ValueError: no weights here" in done.stderr
    assert "Running prediction" not in done.stderr
    assert left(built) == []


@pytest.mark.parametrize(("code", "hint"), [(3, ""), (0, "hint: its command came to its end")])
def test_a_container_that_ends_before_its_setup_does_is_told(yard: Run, code: int, hint: str) -> None:
    bases.require_engine()
    name = f"modelyard-test-ends-{os.getpid()}"
    dockerfile = f'FROM {docker_images.base()}\nCMD ["sh", "-c", "echo said; exit {code}"]\n'
    docker_images.build(dockerfile, {}, {"org.cogmodel.cog_version": "0.1"}, name)
    try:
        done = yard("run", name)
        assert done.returncode == 1
        assert f"said\nerror: Container exited unexpectedly (exit code {code})\n{hint}" in done.stderr
        assert ("hint" in done.stderr) == bool(hint)
        assert left(name) == []
    finally:
        docker("rmi", name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interrupted_run_takes_its_container_with_it(
    number: signal.Signals, built: str, home: Path, tmp_path: Path
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where nohup started the tests, a child would ignore it, too
    process = subprocess.Popen(
        [yard_process.YARD, "run", built, "-i", "text=x", "-i", "seconds=600"],
        cwd=tmp_path,
        env=yard_process.environment(home),
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGHUP, before)
    assert process.stderr is not None
    said = ""
    while not said.endswith("running\n"):
        line = process.stderr.readline()
        assert line, said
        said += line
    assert len(left(built)) == 1
    process.send_signal(number)
    assert process.wait(60) != 0
    process.stderr.close()
    if number in (signal.SIGHUP, signal.SIGKILL):  # it goes without whoever started it
        _until(lambda: left(built) == [])
    assert left(built) == []


def test_a_run_that_is_killed_before_its_container_is_made_leaves_none(built: str, home: Path, tmp_path: Path) -> None:
    slow = tmp_path / "bin" / "docker"
    slow.parent.mkdir()
    # The real program, which takes its time for `run`: what is killed meanwhile is not there when the container is.
    slow.write_text(
        f"""#!/bin/sh
if [ "$1" = run ]; then
    touch {tmp_path}/asked
    sleep 1.5
    {shutil.which("docker")} "$@"
    echo $? > {tmp_path}/status
else
    exec {shutil.which("docker")} "$@"
fi
"""
    )
    slow.chmod(0o755)
    environ = yard_process.environment(home)
    process = subprocess.Popen(
        [yard_process.YARD, "run", built, "-i", "text=x", "-i", "seconds=600"],
        cwd=tmp_path,
        env={**environ, "PATH": f"{slow.parent}:{environ['PATH']}"},
        stderr=subprocess.DEVNULL,
    )
    _until(lambda: (tmp_path / "asked").exists())
    process.kill()
    process.wait(60)
    _until(lambda: (tmp_path / "status").exists())
    _until(lambda: left(built) == [])


def _until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_container_that_dies_while_it_runs_is_told(built: str, home: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [yard_process.YARD, "run", built, "-i", "text=x", "-i", "seconds=600"],
        cwd=tmp_path,
        env=yard_process.environment(home),
        stderr=subprocess.PIPE,
        text=True,
    )
    _until(lambda: left(built) != [])
    time.sleep(1)
    docker("kill", *left(built))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: Container exited unexpectedly (exit code 137)" in said


def test_an_image_of_cog_runs_and_its_failure_is_told(yard: Run, of_cog: str, tmp_path: Path) -> None:
    done = yard("run", of_cog, "-i", "text=you", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["output"]) == ("succeeded", "output.md")
    assert (tmp_path / "output.md").read_text() == "cog you"
    failed = yard("predict", f"docker:{of_cog}", "-i", "text=you", "-i", "fails=true")
    assert failed.returncode == 1
    assert '"cog predict" is deprecated, use "cog run"' in failed.stderr
    assert 'error: Prediction failed with status "failed": ' in failed.stderr
    assert "as it was told" in failed.stderr
    assert left(of_cog) == []


def test_labels_of_older_cogs_are_read(yard: Run, tmp_path: Path) -> None:
    bases.require_engine()
    image = docker_images.of_cog({"run.py": OF_COG}, "modelyard-test/run-old:1", old=True)
    told = docker("inspect", image, "--format", "{{json .Config.Labels}}")
    assert "org.cogmodel.openapi_schema" in told
    assert "run.cog" not in told
    refused = yard("run", "docker:modelyard-test/run-old:1", "-i", "nope=1")
    assert 'unknown input "nope"; valid inputs are: text, fails' in refused.stderr
    done = yard("run", "modelyard-test/run-old:1", "-i", "text=old", program="cog")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output.md").read_text() == "cog old"


def test_a_training_of_an_image_writes_its_file_here(yard: Run, built: str, tmp_path: Path) -> None:
    refused = yard("train", built, "-i", "n=some")
    assert refused.returncode == 2
    assert 'invalid input "n": expected integer, got string' in refused.stderr
    assert "Starting" not in refused.stderr
    done = yard("train", built, "-i", "n=5")
    assert done.returncode == 0, done.stderr
    assert "Running training...\n" in done.stderr
    assert (tmp_path / "weights.bin").read_text() == "xxxxx"
    assert left(built) == []


def test_a_layout_and_an_archive_run_too(yard: Run, base: Path, tmp_path: Path) -> None:
    write(tmp_path / "project", base, code=ASKS)
    name = f"modelyard-test-archived-{os.getpid()}"
    for out in ("layout", "m.tar"):
        flags = ("-t", name, "-o", f"../{out}", "--base-image", f"oci:{base}")
        done = yard("build", *flags, cwd=tmp_path / "project")
        assert done.returncode == 0, done.stderr
    try:
        runs = [
            yard("run", image, "--use-replicate-token", REPLICATE_API_TOKEN="r8_t")
            for image in ("oci:layout", f"oci:layout:{name}:latest", "m.tar")
        ]
        assert [done.stdout for done in runs] == ["{'replicate_api_token': 'r8_t'}\n"] * 3, runs[0].stderr
    finally:
        loaded = f"modelyard/loaded:{docker('inspect', '--format', '{{.Id}}', name)[7:19]}"
        subprocess.run(["docker", "rmi", "-f", name, loaded], capture_output=True, check=False)
    assert "there is no folder nowhere" in yard("run", "oci:nowhere").stderr
    (tmp_path / "none.tar").write_text("no archive")
    assert "none.tar: " in yard("run", "none.tar").stderr


def test_an_image_of_a_yard_is_pulled_with_the_yards_login(
    yard: Run, server: Server, base: Path, tmp_path: Path
) -> None:
    write(tmp_path / "project", base, code=ASKS)
    known = {"MODELYARD_URL": server.url, "MODELYARD_TOKEN": server.token, "MODELYARD_BASE_IMAGE": f"oci:{base}"}
    pushed = yard("push", "yard/pulled", cwd=tmp_path / "project", **known)
    assert pushed.returncode == 0, pushed.stderr
    image = f"{server.url.partition('://')[2]}/yard/pulled"
    try:
        done = yard("run", image, **known)
        assert done.stdout == "{}\n", done.stderr
        assert f"Pulling {image}\n" in done.stderr
        again = yard("run", image, **known)
        assert again.stdout == "{}\n"
        assert "Pulling" not in again.stderr
        docker("rmi", "--force", image)
        trained = yard("train", image, "-i", "n=4", **known)
        assert trained.returncode == 0, trained.stderr
        assert f"Pulling {image}\n" in trained.stderr
        assert (tmp_path / "weights.bin").read_text() == "xxxx"
    finally:
        subprocess.run(["docker", "rmi", "-f", image], capture_output=True, check=False)
    nobody = yard("run", image)
    assert nobody.returncode == 1
    assert "cannot be pulled: " in nobody.stderr
    assert f"hint: `docker login {image.partition('/')[0]}` tells" in nobody.stderr


def test_who_one_is_is_no_hint_where_nobody_was_asked(yard: Run) -> None:
    bases.require_engine()
    done = yard("run", "127.0.0.1:1/yard/there-is-no-registry")
    assert done.returncode == 1
    assert "cannot be pulled: " in done.stderr
    assert "hint" not in done.stderr


def test_a_training_pulls_its_image_and_never_takes_it_for_a_yards_model(yard: Run) -> None:
    bases.require_engine()
    done = yard("train", "nobody/there-is-no-image")
    assert done.returncode == 1
    assert "Pulling nobody/there-is-no-image\n" in done.stderr
    assert "error: the image 'nobody/there-is-no-image' is not in the Docker Engine of this machine" in done.stderr
    assert "one of a yard, as of any other, is HOST/nobody/there-is-no-image\n" in done.stderr
    missing = yard("train", "hotdog-or-not")
    assert missing.returncode == 1
    assert (
        "hint: `yard build -t hotdog-or-not` makes one of a project; one of a registry is named with" in missing.stderr
    )
    assert "OWNER/NAME" not in missing.stderr


def test_what_is_no_image_of_a_model_is_told(yard: Run) -> None:
    bases.require_engine()
    docker_images.base()
    plain = yard("run", f"docker:{docker_images.BASE}")
    assert plain.returncode == 1
    assert f"error: the image '{docker_images.BASE}' is no model: it has none of the labels" in plain.stderr
    assert f"hint: docker run {docker_images.BASE} runs any image" in plain.stderr
    missing = yard("run", "hotdog-or-not")
    assert missing.returncode == 1
    assert "error: there is no image 'hotdog-or-not' in the Docker Engine of this machine\nhint: " in missing.stderr
    assert "`yard exec hotdog-or-not`" in missing.stderr


def test_a_layout_and_an_archive_that_are_no_model_are_refused_and_leave_nothing_in_the_engine(
    yard: Run, tmp_path: Path
) -> None:
    bases.require_engine()
    layout = bases.small(tmp_path / "layout")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    name = f"modelyard-test-saved:{os.getpid()}"
    docker("build", "--quiet", "--tag", name, str(tmp_path))
    docker("save", "--output", str(tmp_path / "saved.tar"), name)
    docker("rmi", name)
    before = docker("images", "modelyard/loaded", "--format", "{{.Tag}}")
    for image in (f"oci:{layout}", "saved.tar"):
        done = yard("run", image)
        assert done.returncode == 1
        assert f"error: the image '{image}' is no model: it has none of the labels" in done.stderr
        assert "hint" not in done.stderr
    assert docker("images", "modelyard/loaded", "--format", "{{.Tag}}") == before
    assert docker("images", "--quiet", name) == ""


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_a_model_that_wants_a_gpu_runs_without_where_there_is_none(yard: Run, base: Path, tmp_path: Path) -> None:
    write(tmp_path / "project", base, "  gpu: true", code=ASKS)
    name = f"modelyard-test-gpu-{os.getpid()}"
    flags = ("-t", name, "--base-image", f"oci:{base}")
    try:
        done = yard("build", *flags, cwd=tmp_path / "project")
        assert done.returncode == 0, done.stderr
        done = yard("run", name)
        assert done.stdout == "{}\n", done.stderr
        assert "warning: Missing device driver, re-trying without GPU\n" in done.stderr
        insists = yard("run", name, "--gpus", "device=0,1")
        assert insists.returncode == 1
        assert "could not select device driver" in insists.stderr
        assert left(name) == []
    finally:
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True, check=False)
