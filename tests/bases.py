"""Bases of images for tests: a small one that nobody runs, and a whole Debian that is made once on a machine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.oci.client.remote import Repository
from modelyard.oci.layers import Layer, Member, write_layer
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import (
    CONFIG,
    MANIFEST,
    Config,
    Descriptor,
    Manifest,
    digest_of,
    parse_config,
    render,
    render_config,
)
from modelyard.packaging.base import PYTHON_LABEL

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
SCRIPT = Path(__file__).parent.parent / "scripts" / "base_image.py"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard-tests"
NO_ENGINE = "a Docker Engine is wanted: install docker.io and start dockerd"


def write(folder: Path, config: Config, name: str = "latest") -> tuple[Path, Layer]:
    """A layout with an image of one layer, whose configuration is `config`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hello.txt").write_text("hello\n")
    layer = write_layer([Member(name="hello.txt", path=folder / "hello.txt")], folder / "layer.tar.gz")
    layout = Layout(folder)
    layout.add(layer)
    data = render_config(Config(**{**_fields(config), "diff_ids": (layer.diff_id,)}))
    described = Descriptor(media_type=CONFIG, digest=layout.put(data), size=len(data))
    manifest = render(Manifest(config=described, layers=(layer.descriptor,)))
    layout.put(manifest)
    platform = f"linux/{config.architecture}"
    layout.name(
        Descriptor(media_type=MANIFEST, digest=digest_of(manifest), size=len(manifest), platform=platform), name
    )
    return folder, layer


def send(folder: Path, there: Repository) -> Layer:
    """Let a repository have the image of a layout as `latest`; gives its layer."""
    layout = Layout(folder)
    ((_, described),) = layout.names().items()
    _, image = layout.image(None, described.platform)
    (layer,) = (Layer(descriptor=each, diff_id="", path=layout.path(each.digest)) for each in image.layers)
    there.send(layer.descriptor.digest, layer.descriptor.size, layer.chunks)
    there.send_bytes(image.config.digest, layout.read(image.config))
    there.put_manifest("latest", layout.read(described), image.media_type)
    return layer


def _fields(config: Config) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__slots__}


def small(folder: Path, python: str = f"/usr/bin/python{OWN} {OWN}", *, architecture: str = "amd64") -> Path:
    """A layout of a base that says it has this Python, and has nothing but a text."""
    labels = {PYTHON_LABEL: python, "maintainer": "me"}
    return write(folder, Config(architecture=architecture, labels=labels, environment=("PATH=/bin", "LANG=C")))[0]


def debian() -> Path:
    """A layout of a base from Debian's packages; made when it is wanted for the first time on this machine."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap makes the base image: apt-get install mmdebstrap")
    _CACHE.mkdir(parents=True, exist_ok=True)
    made = _CACHE / f"base-{hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:12]}"
    with (_CACHE / "base.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not made.exists():
            partial = made.with_name(f"{made.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            subprocess.run([sys.executable, str(SCRIPT), str(partial)], check=True, stdout=subprocess.DEVNULL)
            partial.rename(made)
    return made


def python_of(folder: Path) -> str:
    """The minor of the Python in a layout's only image."""
    layout = Layout(folder)
    (described,) = layout.names().values()
    _, manifest = layout.image(None, described.platform)
    return parse_config(layout.read(manifest.config)).labels[PYTHON_LABEL].split()[1]


def require_engine() -> None:
    """Skip where there is no Docker Engine."""
    if shutil.which("docker") is None:
        pytest.skip(NO_ENGINE)
    done = subprocess.run(["docker", "version"], capture_output=True, timeout=30, check=False)
    if done.returncode != 0:
        pytest.skip(NO_ENGINE)
