"""The Docker Engine of this machine, asked by its own program: is it there, what has it, take this image."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from modelyard.errors import ModelyardError
from modelyard.oci import archive
from modelyard.oci.archive import Image
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import digest_of

_SECONDS = 20.0
_LONG_SECONDS = 1800.0
# Where the engine is, where somebody says so.
HOST = "DOCKER_HOST"
_CONTEXT = "DOCKER_CONTEXT"
# Of what an engine says when it fails, the last lines tell why.
LINES = 15
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# More images than these are not asked for what they hold.
_MOST_IMAGES = 500
_LITTLE_BYTES = 8 * 1024 * 1024

# Told which layers are about to be sent, so that they are here.
Complete = Callable[[Sequence[Layer]], None]


class EngineError(ModelyardError):
    """The engine did not do it; the detail has its words."""

    code = "engine_failed"
    title = "The Docker Engine refused"


class Engine:
    """The engine that the `docker` command speaks to with these variables."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)

    def version(self) -> str | None:
        """Its version; None where there is none, or it does not answer."""
        if not has_program(self._environ):
            return None
        try:
            return self.ask("version", "--format", "{{.Server.Version}}").strip() or None
        except EngineError:
            return None

    def load(self, image: Image, name: str, complete: Complete) -> int:
        """Let it have the image under the name; gives the number of layers that it lacked. Raises EngineError."""
        identity, chain = self._known(name)
        if identity == digest_of(image.config):
            return 0
        wanted = [layer.diff_id for layer in image.layers]
        there = _common(wanted, chain)
        # Asking for what all other images hold takes as long as sending a little.
        if sum(layer.descriptor.size for layer in image.layers[there:]) > _LITTLE_BYTES:
            there = max(there, self._shared(wanted))
        try:
            return self._send(image, name, complete, there)
        except EngineError:
            if not there:
                raise
        # An engine that keeps images in another way wants all of it.
        return self._send(image, name, complete, 0)

    def ask(self, *arguments: str, seconds: float = _SECONDS) -> str:
        """Run one of Docker's commands; gives what it printed. Raises EngineError with its words."""
        try:
            done = subprocess.run(
                ["docker", *arguments],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(f"docker {arguments[0]}: {error}") from None
        if done.returncode != 0:
            raise EngineError(f"docker {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def save(self, name: str, into: Path) -> None:
        """Write an image's archive. Raises EngineError."""
        self.ask("save", "--output", str(into), name, seconds=_LONG_SECONDS)

    def frozen(self, name: str) -> str:
        """What `pip freeze` says in an image; "" where there is no pip, or it cannot run here."""
        flags = ["--rm", "--network=none", "--entrypoint=python"]
        try:
            return self.ask("run", *flags, name, "-m", "pip", "freeze").strip()
        except EngineError:
            return ""

    def text_in(self, image: str, path: str) -> str | None:
        """What this file of an image says; None where it has none."""
        try:
            return self.ask("run", "--rm", "--network=none", "--pull=never", "--entrypoint=cat", image, path)
        except EngineError:
            return None

    def _send(self, image: Image, name: str, complete: Complete, there: int) -> int:
        missing = image.layers[there:]
        complete(missing)
        self._feed(archive.stream(archive.for_docker(image, name, there)), "load", "--quiet")
        return len(missing)

    def id_of(self, name: str) -> str | None:
        """What the engine calls the image of this name; None where it has none."""
        return self._known(name)[0]

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[None]:
        """Around what gives the name to another image: the one that loses it goes, unless somebody else has it."""
        before = self.id_of(name)
        try:
            yield
        finally:
            if before is not None and before != self.id_of(name):
                with contextlib.suppress(EngineError):  # it went already, or a container runs in it
                    if self.ask("image", "inspect", "--format", "{{len .RepoTags}}", before).strip() == "0":
                        self.ask("image", "rm", before)

    def _known(self, name: str) -> tuple[str | None, list[str]]:
        """What the engine calls the image that has the name now, and its layers from the lowest on."""
        try:
            told = self.ask("image", "inspect", "--format", "{{.Id}} {{json .RootFS.Layers}}", name)
        except EngineError:
            return None, []
        identity, _, layers = told.strip().partition(" ")
        return identity, json.loads(layers) or []

    def _shared(self, wanted: Sequence[str]) -> int:
        """How many of these layers, from the lowest on, some image of the engine has in the same order."""
        try:
            names = self.ask("image", "ls", "--all", "--quiet", "--no-trunc").split()
            if not names:
                return 0
            told = self.ask("image", "inspect", "--format", "{{json .RootFS.Layers}}", *names[:_MOST_IMAGES])
        except EngineError:
            return 0  # an image that went in between; then all of it is sent
        chains: list[list[str]] = [json.loads(line) or [] for line in told.splitlines()]
        return max((_common(wanted, chain) for chain in chains), default=0)

    def _feed(self, chunks: Iterable[bytes], *arguments: str) -> None:
        with subprocess.Popen(
            ["docker", *arguments],
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            try:
                for chunk in chunks:
                    process.stdin.write(chunk)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it says why
            except BaseException:
                process.kill()
                raise
            words = process.stdout.read().decode(errors="replace") if process.stdout else ""
        if process.returncode != 0:
            last = "\n".join(uncoloured(words).strip().splitlines()[-LINES:])
            raise EngineError(f"docker {arguments[0]}: {last}")


def has_program(environ: Mapping[str, str]) -> bool:
    """Is Docker's program there, without which no engine is asked, whether one runs or not?"""
    return shutil.which("docker", path=environ.get("PATH")) is not None


def place(environ: Mapping[str, str]) -> str:
    """Where an engine is looked for, after "there is none": `here`, unless somebody says where it is. Where Docker's
    program is not there, that is said."""
    if not has_program(environ):
        asked = f", by which {HOST}={environ[HOST]} would be asked," if environ.get(HOST) else ""
        return f"here: the program `docker`{asked} is not on the PATH"
    if environ.get(HOST):
        return f"at {HOST}={environ[HOST]}"
    context = _context(environ)
    if not context:
        return "here"
    try:
        return f"at {address(environ)}, docker's context {context!r}"
    except EngineError:
        return f"in docker's context {context!r}, which does not exist"


def address(environ: Mapping[str, str]) -> str:
    """Where the engine is, as DOCKER_HOST has it; "" where nobody says so. Raises EngineError."""
    context = _context(environ)
    if environ.get(HOST) or not context:
        return environ.get(HOST, "")
    return Engine(environ).ask("context", "inspect", context, "--format", "{{.Endpoints.docker.Host}}").strip()


def other_machine(environ: Mapping[str, str]) -> str | None:
    """The other machine that the engine is on, which sees no folder of this one; None where it is here. Raises
    EngineError."""
    where = urlsplit(address(environ))
    is_here = where.scheme not in ("tcp", "ssh") or where.hostname in ("localhost", "127.0.0.1", "::1")
    return None if is_here else where.hostname


def _context(environ: Mapping[str, str]) -> str:
    context = environ.get(_CONTEXT) or _chosen(environ)
    return "" if context == "default" else context


def _chosen(environ: Mapping[str, str]) -> str:
    """The context that `docker context use` named."""
    folder = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or "~").expanduser() / ".docker"
    try:
        told = json.loads((Path(folder) / "config.json").read_bytes())
        return str(told.get("currentContext") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def uncoloured(text: str) -> str:
    """The text as it would be in a file."""
    return _COLOURS.sub("", text)


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count
