"""`yard build`: the model as a container image, without a daemon; into the Docker Engine where there is one."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from modelyard import settings
from modelyard.cli import bases, docker, images, imaging, project, words
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError, OutOfSpace, UsageError
from modelyard.oci import archive
from modelyard.oci.archive import Image
from modelyard.oci.layers import Layer
from modelyard.oci.layout import Layout
from modelyard.packaging import schema
from modelyard.packaging.base import Base
from modelyard.packaging.builders.base import Artifact
from modelyard.packaging.config import Config

if TYPE_CHECKING:
    from modelyard.cli.carried import Carried

_NAME = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})?"
)
_MOST_OF_A_FOLDER = 30


@click.command(
    "build",
    cls=images.WithSwitches,
    short_help="Make a container image of the model",
    epilog=examples("yard build -t my-model", "yard build -o my-model.tar", "docker run -p 5000:5000 my-model"),
)
@click.option("-t", "--tag", metavar="NAME", help="The image's name; else what cog.yaml says.")
@click.option("-o", "--output", metavar="PATH", help="Write an OCI layout: to a folder, or to an archive PATH.tar.")
@images.build_options
@click.pass_obj
def command(said: Talk, /, tag: str | None, output: str | None, **flags: Any) -> int:
    """Make a container image of the model of the current folder, without any daemon: `docker run -p 5000:5000 NAME`
    serves it. Where there is a Docker Engine, it has the image then, and executes what only it can: system_packages,
    commands of build.run.
    """
    images.check_build(flags, said)
    environ = settings.environment()
    found = read(flags, said)
    name = _checked(tag, "--tag") if tag else name_of(found.config, found.root)
    to = Path(output) if output else None
    if to is not None:
        _check_output(to, found.root)
    weights = imaging.carried(found, environ, said)
    said.say(f"Building Docker image from environment in cog.yaml as {name}...")
    artifact, on = whole(found, flags, environ, said, imaging.order(flags, environ, said, to), weights)
    _Delivery(artifact, on, name, environ, said).to(to)
    said.say(f"Image built as {name}")
    return 0


def read(flags: Mapping[str, Any], said: Talk) -> project.Project:
    """The project, with Cog's words before a fault of its schema. Raises ConfigError, SchemaError."""
    try:
        return project.find(Path.cwd(), flags["file"], said, trainings=True, given=flags["openapi_schema"])
    except schema.SchemaError as error:
        raise error.within("image build failed") from None  # Cog's words, for which scripts look


def whole(
    found: project.Project,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    said: Talk,
    order: imaging.Order,
    weights: Carried | None,
) -> tuple[Artifact, Base]:
    """The image, and what it is put on, without which there is none. Raises BaseError, NeedsEngineError."""
    architecture = imaging.architecture(flags["platform"])
    if flags["dockerfile"]:
        from modelyard.cli import dockerfiles  # only who names one pays for it

        return dockerfiles.build(found, Path(flags["dockerfile"]), architecture, environ, said, order)
    python = found.config.python_version
    wanted = bases.wish(flags["base_image"], python, architecture, environ, anew=order.anew)
    on = imaging.base(found, wanted, environ, said, order)
    return imaging.build(found, on, environ, said, order, weights), on


def name_of(config: Config, root: Path) -> str:
    """What an image is called when no flag says so: as cog.yaml says, else after the folder."""
    if config.image or config.model:
        return _checked(config.image or config.model or "", "`image` of cog.yaml" if config.image else "`model`")
    plain = "-".join(re.findall("[a-z0-9]+", root.name.lower()))[:_MOST_OF_A_FOLDER].strip("-")
    return f"cog-{plain or 'model'}"


def _checked(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{what} is {name!r}; wanted: an image's name, such as my-model or registry.example.org/owner/model:tag"
        )
    return name


def _check_output(path: Path, project: Path) -> None:
    """Fail before anything is made where it could not be written afterwards. Raises UsageError."""
    if path.suffix != ".tar" and project.resolve().is_relative_to(path.resolve()):
        raise UsageError(
            f"--output: {path}: the project lies in this folder; wanted: one that is the image's own, or PATH.tar"
        )
    # A layout's folders are made; an archive's folder must be there.
    folder = path.absolute().parent if path.suffix == ".tar" else path.absolute()
    while path.suffix != ".tar" and not os.path.lexists(folder):
        folder = folder.parent
    reason = _why_not(path, folder)
    if reason is not None:
        hint = f"mkdir -p {folder}" if reason == errno.ENOENT else None
        raise UsageError(f"--output: {path}: {os.strerror(reason)}", hint=hint)


def _why_not(path: Path, folder: Path) -> int | None:
    """What the system would say to writing this into that folder; None where it would do it."""
    if path.suffix == ".tar" and path.is_dir():
        return errno.EISDIR
    if not folder.is_dir():
        return errno.ENOTDIR if os.path.lexists(folder) else errno.ENOENT
    return None if os.access(folder, os.W_OK | os.X_OK) else errno.EACCES


class _Delivery(NamedTuple):
    """A finished image on its way to where somebody wants it."""

    artifact: Artifact
    base: Base
    name: str
    environ: Mapping[str, str]
    said: Talk

    def to(self, output: Path | None) -> None:
        """Write it to `output`; or else give it to the engine; or else keep it."""
        if output is not None:
            self._write(output)
            return
        engine = docker.Engine(self.environ)
        version = engine.version()
        if version is None:
            self._keep()
            return
        count = engine.load(self._image(), self._tagged, self._complete)
        layers = f"{count} of {len(self.artifact.layers)} layers were new to it"
        self.said.say(f"Loaded into Docker Engine {version}: {layers}")

    @property
    def _tagged(self) -> str:
        return self.name if ":" in self.name.rpartition("/")[2] else f"{self.name}:latest"

    def _image(self) -> Image:
        platform = f"linux/{self.base.target.architecture}"
        artifact = self.artifact
        return Image(
            manifest=artifact.manifest_bytes, config=artifact.config_bytes, layers=artifact.layers, platform=platform
        )

    def _complete(self, layers: Sequence[Layer]) -> None:
        bases.complete(layers, self.base.ref, self.environ, self.said)

    def _write(self, path: Path) -> None:
        self._complete(self.artifact.layers)
        if path.suffix != ".tar":
            self._layout(path)
            self.said.say(f"Wrote an OCI layout: {path}")
            return
        partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            with partial.open("wb") as file:
                file.writelines(archive.stream(archive.whole(self._image(), self._tagged)))
            partial.replace(path)
        except OSError as error:
            raise _unwritten(path, error) from None
        finally:
            partial.unlink(missing_ok=True)
        self.said.say(f"Wrote an OCI archive, which docker load takes too: {path} ({words.size(path.stat().st_size)})")

    def _keep(self) -> None:
        self._complete(self.artifact.layers)
        folder = bases.home(self.environ)
        self._layout(folder)
        place = docker.place(self.environ)
        self.said.say(f"There is no Docker Engine {place}, so the image is kept in the OCI layout {folder}")
        self.said.say(f"Send it with skopeo copy oci:{folder}:{self._tagged} docker://REGISTRY/NAME, or write it: -o")

    def _layout(self, folder: Path) -> None:
        layout = Layout(folder.absolute())
        try:
            for layer in self.artifact.layers:
                layout.add(layer)
            layout.put(self.artifact.config_bytes)
            layout.put(self.artifact.manifest_bytes)
            layout.name(self._image().descriptor, self._tagged)
        except OSError as error:
            raise _unwritten(folder, error) from None


def _unwritten(path: Path, error: OSError) -> ModelyardError:
    """The error for an image that could not be written there."""
    words = f"--output: {path}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(words, hint="make room there and build again; what was not written whole has no name yet")
    return UsageError(words)
