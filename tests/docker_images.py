"""The real Docker Engine for tests, and images to run in it: the base, one with our box, one of the real Cog.

The base is made of Debian's packages once and kept in the user's cache, as are Cog's packages.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import debian_base

from modelyard.packaging import box, schema
from modelyard_runner.versions import VERSION

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard-tests"
BASE = "modelyard-test/base:1"
COG = ("cog==0.23.1", "coglet==0.23.1")
HOW_TO_HAVE_IT = (
    "no Docker Engine answers: as root, `apt-get install docker.io mmdebstrap` and `dockerd &` give one that these"
    " tests can use"
)


def docker(*arguments: str, config: Path | None = None, stdin: bytes | None = None) -> str:
    """Run Docker's command; what it printed."""
    environment = dict(os.environ) if config is None else {**os.environ, "DOCKER_CONFIG": str(config)}
    done = subprocess.run(["docker", *arguments], input=stdin, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.decode()}"
    return done.stdout.decode().strip()


@functools.cache
def problem() -> str | None:
    """Why there is no Docker Engine here."""
    if shutil.which("docker") is None:
        return HOW_TO_HAVE_IT
    done = subprocess.run(["docker", "version"], capture_output=True, check=False)
    return None if done.returncode == 0 else HOW_TO_HAVE_IT


@functools.cache
def base() -> str:
    """An image with Debian and its Python."""
    if not docker("images", "--quiet", BASE):
        docker("import", str(debian_base.tarball()), BASE)
    return BASE


def build(dockerfile: str, files: Mapping[str, str | Path], labels: Mapping[str, str], name: str) -> str:
    """An image of this Dockerfile and these files: texts, or files and folders of this machine. Gives its name."""
    with tempfile.TemporaryDirectory() as folder:
        for path, content in {**files, "Dockerfile": dockerfile}.items():
            target = Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                target.write_text(content)
            elif content.is_dir():
                shutil.copytree(content, target, symlinks=False, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(content, target)
        flags = [f"--label={key}={value}" for key, value in labels.items()]
        docker("build", "--quiet", "--network=none", "--tag", name, *flags, folder)
    return name


def box_folders() -> dict[str, Path]:
    """Our two packages that are in every image of ours, by name."""
    found = {}
    for folder in map(Path, box.paths()):
        for package in ("cog", "modelyard_runner"):
            if (folder / package).is_dir():
                found[package] = folder / package
    return found


def ours(
    source: Mapping[str, str],
    name: str,
    *,
    config: Mapping[str, object] | None = None,
    more: Mapping[str, str] | None = None,
    box: bool = True,
) -> str:
    """An image as the builder makes one, without a server half: base, box, the model's Python, the project. `box`: does
    its label say that our box is in it; `more`: further labels."""
    dockerfile = f"""\
FROM {base()}
COPY box /opt/modelyard/box
RUN mkdir -p /opt/model/bin && ln -s /usr/bin/python3 /opt/model/bin/python
ENV PATH=/opt/model/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/opt/modelyard/box PYTHONUNBUFFERED=1
ENV COG_PREDICT_TYPE_STUB=run.py:Runner
WORKDIR /src
COPY src /src
EXPOSE 5000
CMD ["python", "-m", "cog.server.http"]
"""
    files = {f"src/{path}": text for path, text in source.items()}
    boxes = {f"box/{package}": folder for package, folder in box_folders().items()}
    labels = {**_labels(source, config), **({"org.modelyard.box": VERSION} if box else {}), **(more or {})}
    return build(dockerfile, {**files, **boxes}, labels, name)


def of_cog(
    source: Mapping[str, str],
    name: str,
    *,
    config: Mapping[str, object] | None = None,
    train: str | None = None,
    old: bool = False,
) -> str:
    """An image as the real Cog makes one, with its packages and its labels; it knows nothing of us. `train`: what of
    the source trains; `old`: the labels have the names that they had at first."""
    trains = "" if train is None else f" COG_TRAIN_TYPE_STUB={train}"
    dockerfile = f"""\
FROM {base()}
COPY site /usr/local/lib/python3.11/dist-packages
RUN ln -s /usr/bin/python3 /usr/local/bin/python
ENV PATH=/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 COG_PREDICT_TYPE_STUB=run.py:Runner{trains}
WORKDIR /src
COPY src /src
EXPOSE 5000
CMD ["python", "-m", "cog.server.http"]
"""
    labels = _labels(source, config, train)
    files: dict[str, str | Path] = {f"src/{path}": text for path, text in source.items()}
    files["src/.cog/openapi_schema.json"] = labels["run.cog.openapi_schema"]
    if old:
        labels = {key.replace("run.cog.version", "run.cog.cog_version"): value for key, value in labels.items()}
        labels = {key.replace("run.cog.", "org.cogmodel."): value for key, value in labels.items()}
    return build(dockerfile, {**files, "site": _cog_packages()}, labels, name)


def _labels(source: Mapping[str, str], config: Mapping[str, object] | None, train: str | None = None) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        for path, text in source.items():
            (Path(folder) / path).write_text(text)
        document = schema.read(Path(folder), "run.py:Runner", "predict", train=train, version="0.23.1")
    found = {"build": {"python_version": "3.11"}, "predict": "run.py:Runner", **(config or {})}
    found |= {} if train is None else {"train": train}
    return {
        "run.cog.version": "0.23.1",
        "run.cog.config": json.dumps(found),
        "run.cog.openapi_schema": json.dumps(document),
    }


@functools.cache
def _cog_packages() -> Path:
    key = hashlib.sha256(" ".join(COG).encode()).hexdigest()[:12]
    folder = CACHE / f"cog-{key}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        uv = str(Path(sys.executable).with_name("uv"))
        command = [uv, "pip", "install", "--quiet", "--python-version", "3.11", "--target", str(partial), *COG]
        subprocess.run(command, check=True)
        partial.rename(folder)
    return folder


def push(image: str, url: str, token: str, repository: str, folder: Path) -> str:
    """Push an image to a yard with Docker's own command; gives the version that it became."""
    registry = url.removeprefix("http://")
    auth = base64.b64encode(f"yard:{token}".encode()).decode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))
    target = f"{registry}/{repository}:latest"
    docker("tag", image, target)
    docker("push", "--quiet", target, config=folder)
    digests: Sequence[str] = json.loads(docker("inspect", "--format", "{{json .RepoDigests}}", target))
    docker("rmi", target)
    return next(each for each in digests if each.startswith(registry)).partition("@sha256:")[2]
