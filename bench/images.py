"""Cases of images: built by us and by Docker from the Dockerfile of the same project, and pushed unchanged.

Both have every package at hand (in uv's cache, as wheels) and the base in the engine: what is measured is what a
builder does with it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import environments
import load
import targets
from environments import Environment
from processes import Server
from session import Session

SCRIPT = targets.ROOT / "scripts" / "base_image.py"
BASE = environments.ROOT / "base"
IMAGES = "modelyard-bench"
PYTHON = "3.11"  # of the base
OURS, PEER = f"{IMAGES}/ours:1", f"{IMAGES}/docker:1"
_KEEPER, _PEER_BASE = f"{IMAGES}/keeper:1", f"{IMAGES}/base:1"
PACKAGES = (
    "attrs==25.1.0",
    "certifi==2025.1.31",
    "charset-normalizer==3.4.1",
    "click==8.1.8",
    "idna==3.10",
    "jinja2==3.1.5",
    "markdown-it-py==3.0.0",
    "markupsafe==3.0.2",
    "mdurl==0.1.2",
    "packaging==24.2",
    "pygments==2.19.1",
    "python-dateutil==2.9.0.post0",
    "pytz==2025.1",
    "pyyaml==6.0.2",
    "requests==2.32.3",
    "rich==13.9.4",
    "six==1.17.0",
    "tabulate==0.9.0",
    "tqdm==4.67.1",
    "urllib3==2.3.0",
)
SOURCE = (targets.HELLO_SYNC.folder / "run.py").read_text()
_INSTALL = "uv pip install --offline --python /opt/model --no-index --find-links /wheels"
# What Cog writes for such a project (its own packages by uv, the model's by pip), with a folder of wheels in the base
# in the place of an index.
DOCKERFILE = f"""\
FROM {_PEER_BASE}
ENV PATH=/opt/model/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 COG_PREDICT_TYPE_STUB=run.py:Runner
RUN {_INSTALL} {" ".join(environments.COG.packages)}
COPY requirements.txt /tmp/requirements.txt
RUN python -m pip install --no-index --find-links /wheels -r /tmp/requirements.txt
WORKDIR /src
EXPOSE 5000
CMD ["python", "-m", "cog.server.http"]
COPY src /src
"""


def docker(*arguments: str, config: Path | None = None, stdin: bytes | None = None) -> str:
    """Run Docker's command; what it printed. Raises CalledProcessError."""
    environ = {**os.environ, "DOCKER_BUILDKIT": _has_buildx(), **({"DOCKER_CONFIG": str(config)} if config else {})}
    done = subprocess.run(["docker", *arguments], env=environ, input=stdin, capture_output=True, check=True)
    return done.stdout.decode().strip()


@cache
def _has_buildx() -> str:
    """ "1" where the command can have BuildKit build, which it then does by itself."""
    done = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    return "0" if done.returncode else "1"


def base() -> Path:
    """An OCI layout with Debian and its Python, made once."""
    if not BASE.exists():
        partial_ = BASE.with_name("base.partial")
        shutil.rmtree(partial_, ignore_errors=True)
        subprocess.run([sys.executable, SCRIPT, partial_], check=True, capture_output=True)
        partial_.rename(BASE)
    return BASE


@contextmanager
def forgotten(*names: str) -> Iterator[None]:
    """The engine has these images no more, before and after."""
    subprocess.run(["docker", "rmi", "--force", *names], capture_output=True, check=False)
    try:
        yield
    finally:
        subprocess.run(["docker", "rmi", "--force", *names], capture_output=True, check=False)


def build(session: Session) -> None:
    """A project with twenty packages: its first image, and the one after a change of its code."""
    session.attempt("images", lambda: _build(session))


def _build(session: Session) -> None:
    folder = session.scratch / "images"
    ours = write_project(folder / "ours", packages=PACKAGES)
    peer = _peer(folder / "docker")
    with forgotten(OURS, PEER, _KEEPER, _PEER_BASE):
        _make_peer_base(folder / "peer-base")
        # The base's and the server's layers are in the engine, for both; and the packages in uv's cache.
        yard_build(session, write_project(folder / "keeper"), _KEEPER, home=folder / "home")
        yard_build(session, ours, OURS, home=folder / "home-warm")
        _docker_build(peer)
        for number in range(session.rounds):
            _round(session, number, ours, peer, folder)


def _round(session: Session, number: int, ours: Path, peer: Path, folder: Path) -> None:
    # A user who has built something on this base, and nothing with these packages.
    home = folder / f"home-{number}"
    shutil.copytree(folder / "home", home, symlinks=True)
    with forgotten(OURS):
        shutil.rmtree(ours / ".cog", ignore_errors=True)
        first = yard_build(session, ours, OURS, home=home)
        change(ours, number)
        edit = yard_build(session, ours, OURS, home=home)
        session.add("images", "yard build", first_seconds=first, edit_seconds=edit)
    (peer / "requirements.txt").write_text("\n".join([*PACKAGES, f"# {time.time_ns()}", ""]))
    first = _docker_build(peer)
    change(peer / "src", number)
    session.add("images", "docker build", first_seconds=first, edit_seconds=_docker_build(peer))


def write_project(folder: Path, *, packages: tuple[str, ...] = (), python: str = PYTHON) -> Path:
    """The hello-world model with these packages."""
    folder.mkdir(parents=True)
    (folder / "run.py").write_text(SOURCE)
    listed = f"  python_packages: {json.dumps(packages)}\n" if packages else ""
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "{python}"\n{listed}run: "run.py:Runner"\n')
    return folder


def change(folder: Path, number: int) -> None:
    """Change a project's code: what its model says, and nothing else."""
    (folder / "run.py").write_text(f"{SOURCE}\n# change {number} at {time.time_ns()}\n")


def home_of(session: Session, home: Path) -> dict[str, str]:
    """A user's environment with a home of its own, for `yard build` and `yard push` on the base."""
    links = {"UV_FIND_LINKS": os.environ["PIP_FIND_LINKS"]} if os.environ.get("PIP_FIND_LINKS") else {}
    given = {**targets.home(session.scratch), "HOME": str(home), "MODELYARD_BASE_IMAGE": f"oci:{base()}"}
    return {**os.environ, **links, **given}


def yard_build(session: Session, folder: Path, name: str, *, home: Path) -> float:
    """Build a project into the engine; how long that took."""
    began = time.monotonic()
    subprocess.run(
        [targets.YARD, "build", "-t", name], cwd=folder, env=home_of(session, home), check=True, capture_output=True
    )
    return time.monotonic() - began


def _docker_build(folder: Path) -> float:
    began = time.monotonic()
    docker("build", "--quiet", "--network=none", "--tag", PEER, str(folder))
    return time.monotonic() - began


def _peer(folder: Path) -> Path:
    """The same project with a Dockerfile and a folder of wheels."""
    write_project(folder / "src", packages=PACKAGES)
    (folder / "requirements.txt").write_text("\n".join(PACKAGES) + "\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


def _make_peer_base(folder: Path) -> None:
    """Our base with uv and an empty environment in it, as a base of Cog's has them, and with all packages in uv's
    cache."""
    folder.mkdir(parents=True)
    pip = Environment(name="pip", packages=("pip",)).make()
    command = [pip.python, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version", PYTHON]
    command += ["--platform", "manylinux2014_x86_64", "--platform", "any", "--dest", folder / "wheels"]
    subprocess.run([*command, *PACKAGES, "pip", *environments.COG.packages], check=True, capture_output=True)
    manifest = _read(base(), next(iter(json.loads((base() / "index.json").read_text())["manifests"])))
    layers = json.loads(manifest)["layers"]
    if len(layers) != 1:
        raise load.MeasuringError(f"the base has {len(layers)} layers; one was expected")
    imported = docker("import", str(_blob(base(), layers[0]["digest"])))
    shutil.copyfile(Path(sys.executable).with_name("uv"), folder / "uv")
    (folder / "uv").chmod(0o755)
    venv = "uv venv --python /usr/bin/python3 /opt/model"
    warm = f"{venv} && {_INSTALL} /wheels/*.whl && rm -r /opt/model"
    steps = ["COPY uv /usr/bin/uv", "COPY wheels /wheels", f"RUN {warm}", f"RUN {venv} && {_INSTALL} pip"]
    (folder / "Dockerfile").write_text("\n".join([f"FROM {imported}", *steps, ""]))
    docker("build", "--quiet", "--network=none", "--tag", _PEER_BASE, str(folder))


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _read(layout: Path, described: Mapping[str, str]) -> str:
    return _blob(layout, described["digest"]).read_text()


# An image that is there already


@dataclass(frozen=True, slots=True)
class _Pushing:
    session: Session
    server: Server
    folder: Path

    @property
    def registry(self) -> str:
        return self.server.url.removeprefix("http://")

    @property
    def name(self) -> str:
        return f"{self.registry}/{targets.OWNER}/pushed"

    def ours(self) -> float:
        told = {"MODELYARD_URL": self.server.url, "MODELYARD_TOKEN": targets.TOKEN}
        environ = {**home_of(self.session, self.folder / "home"), **told}
        began = time.monotonic()
        subprocess.run(
            [targets.YARD, "push", f"{targets.OWNER}/pushed"],
            cwd=self.folder / "project",
            env=environ,
            check=True,
            capture_output=True,
        )
        return time.monotonic() - began

    def docker(self) -> float:
        config = self.folder / "docker"
        config.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{targets.OWNER}:{targets.TOKEN}".encode()).decode()
        (config / "config.json").write_text(json.dumps({"auths": {self.registry: {"auth": auth}}}))
        began = time.monotonic()
        docker("push", "--quiet", self.name, config=config)
        return time.monotonic() - began


def push(session: Session) -> None:
    """An image that the yard has already, pushed again by each."""
    session.attempt("pushes", lambda: _push(session))


def _push(session: Session) -> None:
    folder = session.scratch / "pushed"
    write_project(folder / "project", packages=PACKAGES)
    with targets.yard(session.scratch, name="yard pushes") as server:
        pushing = _Pushing(session, server, folder)
        with forgotten(pushing.name):
            yard_build(session, folder / "project", pushing.name, home=folder / "home")
            for who, work in (("yard push", pushing.ours), ("docker push", pushing.docker)):
                session.attempt(f"{who}, the first time", work)
            for _ in range(session.rounds * 3):
                for who, work in (("yard push", pushing.ours), ("docker push", pushing.docker)):
                    seconds = session.attempt(who, partial(work))
                    if seconds is not None:
                        session.add("pushes", who, unchanged_seconds=seconds)
