"""The image that a command is given: found in the Docker Engine here, pulled, or loaded from a layout or an archive."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.cli import docker, engine_images, executed, imaging, naming, registries
from modelyard.cli.asked import Mode
from modelyard.cli.naming import Name
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError
from modelyard.oci import archive, labels
from modelyard.oci.layers import Layer
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import parse_config

_LOADED = re.compile(r"^Loaded image(?: ID)?: (\S+)$", re.MULTILINE)
# How registries, and Docker for them, say that somebody is to log in, or may not.
_WHO = re.compile(r"unauthorized|denied|forbidden|authentication required|no basic auth|\b40[13]\b", re.IGNORECASE)
_DOCKERS_LIST = "manifest.json"
_LONG_SECONDS = 1800.0
_ANY_NAME = "yard"


class NoImageError(ModelyardError):
    """There is no such image, or it is none of a model."""

    code = "no_image"
    title = "No such image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An image of a model that the engine has. `id`: as the engine knows it; `labels`: its own; `places`: what it was
    pulled as (`HOST/NAME@sha256:…`)."""

    name: str
    id: str
    labels: Mapping[str, str]
    places: Sequence[str] = ()

    @property
    def document(self) -> dict[str, Any] | None:
        """The OpenAPI document that it brings, if it does."""
        return self._json(labels.COG_SCHEMA)

    @property
    def config(self) -> dict[str, Any]:
        """What its cog.yaml said, as far as it tells."""
        return self._json(labels.COG_CONFIG) or {}

    @property
    def wants_gpu(self) -> bool:
        """Does its model use a GPU?"""
        build = self.config.get("build")
        return isinstance(build, dict) and bool(build.get("gpu"))

    def _json(self, key: str) -> dict[str, Any] | None:
        try:
            found = json.loads(labels.read_cog(self.labels, key) or "null")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def find(name: Name, mode: Mode, engine: docker.Engine, environ: Mapping[str, str], said: Talk) -> Found:
    """Have the engine have it. `mode`: what it is wanted for. Raises NoImageError, LayoutError, EngineError."""
    if name.kind == "layout":
        return _found(f"oci:{name.text}", _from_layout(name.text, engine), engine)
    if name.kind == "archive":
        return _found(name.text, _from_archive(Path(name.text), engine), engine)
    try:
        return _found(name.text, name.text, engine)
    except docker.EngineError as error:
        if "No such" not in error.detail:
            raise
    if not name.is_pulled:
        hint = f"`yard build -t {name.text}` makes one of a project; one of a registry is named with its host"
        if mode == "predict":
            hint += f"; a model of a yard is OWNER/NAME; a command is run by `yard exec {name.text}`"
        raise NoImageError(f"there is no image {name.text!r} in the Docker Engine of this machine", hint=hint)
    _pull(name.text, environ, said)
    return _found(name.text, name.text, engine)


def _found(name: str, reference: str, engine: docker.Engine) -> Found:
    (shown,) = json.loads(engine.ask("image", "inspect", reference))
    told = (shown.get("Config") or {}).get("Labels") or {}
    _check(name, told, f"docker run {name} runs any image")
    return Found(name=name, id=shown["Id"], labels=told, places=shown.get("RepoDigests") or ())


def _check(name: str, told: Mapping[str, str], hint: str | None = None) -> None:
    """Raises NoImageError for what is no model."""
    if not any(labels.read_cog(told, key) for key in (labels.COG_VERSION, labels.COG_CONFIG, labels.COG_SCHEMA)):
        raise NoImageError(
            f"the image {name!r} is no model: it has none of the labels that Cog and `yard build` give to one"
            " (run.cog.*)",
            hint=hint,
        )


# From a registry


def _pull(name: str, environ: Mapping[str, str], said: Talk) -> None:
    said.say(f"Pulling {name}")
    quiet = () if said.is_terminal else ("--quiet",)
    with _logged_in(name, environ) as known:
        done = subprocess.run(
            ["docker", "pull", *quiet, name],
            env=dict(known),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if said.is_terminal else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        why = done.stderr.strip().removeprefix("Error response from daemon: ")
        host = naming.host_of(name)
        hints = []
        if _WHO.search(why):
            hints.append(f"`{' '.join(['docker login', *filter(None, [host])])}` tells Docker who you are there")
        if host is None:
            hints.append(f"it was looked for in Docker's own registry; one of a yard, as of any other, is HOST/{name}")
        raise NoImageError(
            f"the image {name!r} is not in the Docker Engine of this machine, and cannot be pulled: {why}",
            hint="; ".join(hints) or None,
        )


@contextlib.contextmanager
def _logged_in(name: str, environ: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The variables with which Docker's program knows what `yard login` knows of a yard."""
    host = naming.host_of(name)
    access = registries.find(environ)(host) if host else None
    if host is None or access is None or not access.url:
        yield environ
        return
    with tempfile.TemporaryDirectory(prefix="yard-") as folder:
        secret = base64.b64encode(f"{_ANY_NAME}:{access.token}".encode()).decode()
        (Path(folder) / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))
        # Where the engine is may stand in the configuration that is not used meanwhile.
        where = docker.address(environ)
        yield {**environ, **({docker.HOST: where} if where else {}), "DOCKER_CONFIG": folder}


# From this disk


def _from_layout(text: str, engine: docker.Engine) -> str:
    folder, name = Path(text), None
    if not folder.is_dir():
        before, colon, after = text.partition(":")
        folder, name = Path(before), after if colon else None
    if not folder.is_dir():
        raise NoImageError(f"oci:{text}: there is no folder {folder}", hint="oci:FOLDER or oci:FOLDER:NAME")
    return _load(f"oci:{text}", Layout(folder.absolute()), name, engine)


def _load(what: str, layout: Layout, name: str | None, engine: docker.Engine) -> str:
    descriptor, manifest = layout.image(name, f"linux/{imaging.architecture(None)}")
    config = layout.read(manifest.config)
    # What is refused is not left in the engine.
    _check(what, parse_config(config).labels)
    image = archive.Image(
        manifest=layout.read(descriptor),
        config=engine_images.marked(config),
        layers=[
            Layer(descriptor=layer, diff_id=diff_id, path=layout.path(layer.digest))
            for layer, diff_id in zip(manifest.layers, parse_config(config).diff_ids, strict=True)
        ],
    )
    # Engines do not agree on what an image without a name is called.
    called = f"modelyard/loaded:{manifest.config.digest.partition(':')[2][:12]}"
    engine.load(image, called, lambda _: None)
    return called


def _from_archive(path: Path, engine: docker.Engine) -> str:
    try:
        with tarfile.open(path) as members:
            names = members.getnames()
            if _DOCKERS_LIST not in names:
                return _unpacked(path, members, engine)
            _check(str(path), parse_config(executed.config_of(members)).labels)
    except (OSError, tarfile.TarError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise NoImageError(
            f"{path}: {reason}", hint="FILE.tar is an archive of `yard build -o` or `docker save`"
        ) from None
    told = _LOADED.search(engine.ask("load", "--input", str(path), seconds=_LONG_SECONDS))
    if told is None:
        raise NoImageError(f"{path}: the Docker Engine does not say which image it loaded of it")
    return told[1]


def _unpacked(path: Path, members: tarfile.TarFile, engine: docker.Engine) -> str:
    """An OCI archive of a tool that leaves Docker's own list out."""
    with tempfile.TemporaryDirectory(prefix="yard-") as folder:
        members.extractall(folder, filter="data")
        return _load(str(path), Layout(Path(folder)), None, engine)
