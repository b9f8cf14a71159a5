"""`docker build` as a process: which program can do it, what it says, and which step failed with which words."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from modelyard import programs
from modelyard.cli import build_secrets, engine_images
from modelyard.cli.build_secrets import Borrowed
from modelyard.cli.docker import LINES, EngineError, uncoloured
from modelyard.packaging import recipe

_SECONDS: Final = 20.0
# The first `docker` that leaves BuildKit to a plugin, which may not be there.
_PLUGIN_FROM: Final = 23
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_INSTRUCTION = re.compile(r"\[(?:\S+ )?\s*\d+/\d+\] (.*)")
_OLD_INSTRUCTION = re.compile(r"Step \d+/\d+ : (.*)")
_OLD_NOISE = re.compile(r" ---> |Removing intermediate container |Sending build context |Successfully (built|tagged) ")
_STATUS = re.compile(r"(?:exit code: |non-zero code: )(\d+)")


# Where BuildKit says why nothing came of it, and what it says before.
_ENDED = re.compile(r"(?:ERROR: )?failed to solve(?: with frontend \S+)?: (?:failed to create LLB definition: )?(.+)")


def hidden(_: str) -> None:
    """Nobody wants to see what steps print."""


class NoBuildKitError(EngineError):
    """It takes BuildKit, and no docker program here can ask for it."""

    code = "needs_buildkit"
    title = "It takes BuildKit"


class StepError(EngineError):
    """A step of the Dockerfile failed. `instruction`: as it is written there; `exit_code`: its status, where it was a
    command; `words`: the end of what it said; `seen`: has that been shown?"""

    code = "step_failed"
    title = "A step failed"

    def __init__(self, instruction: str, exit_code: int | None, words: str, *, seen: bool) -> None:
        self.instruction, self.exit_code, self.words, self.seen = instruction, exit_code, words, seen
        super().__init__(self._sentence(f"{instruction}: it failed"))

    def of(self, what: str) -> StepError:
        """The same in the words of whoever wanted it: `what` failed."""
        self.detail = self._sentence(what)
        self.args = (self.detail,)
        return self

    def _sentence(self, what: str) -> str:
        code = "" if self.exit_code is None else f" (exit code {self.exit_code})"
        if not self.words:
            return f"{what}{code}, and said nothing"
        return f"{what}{code}; what it said is above" if self.seen else f"{what}{code}:\n{self.words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A Dockerfile to build. `anew`: whatever the engine knows of it; `folder`: what it may copy from; `secrets`: what
    docker takes as values of `--secret`; `platform`: `linux/arm64`; `mounts`: does it say `RUN --mount`;
    `made_for`: the project that the image is left for, "" for many, None where it stands on one that says so."""

    text: str
    name: str
    anew: bool = False
    folder: Path | None = None
    secrets: Sequence[str] = ()
    platform: str | None = None
    mounts: bool = False
    made_for: str | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A `docker` that builds, and whether it can let BuildKit do it."""

    path: str
    buildkit: bool


def program(environ: Mapping[str, str]) -> Program:
    """The first `docker` of the path that can use BuildKit, else the first of all. Raises EngineError."""
    return _program(environ.get("PATH", os.defpath), environ.get("HOME", ""), environ.get("DOCKER_CONFIG", ""))


def elsewhere(architecture: str) -> str | None:
    """The platform to name for an image of this architecture, where it is not this machine's own."""
    return None if architecture == recipe.architecture_of(platform.machine()) else f"linux/{architecture}"


@contextlib.contextmanager
def lent(environ: Mapping[str, str], *, with_indexes: bool) -> Iterator[Borrowed]:
    """What this machine lends to steps (see `build_secrets`): nothing where they cannot be shown files that stay out of
    their layers. Raises EngineError, NoCertificateError."""
    if not program(environ).buildkit:
        yield Borrowed()
        return
    with build_secrets.borrowed(environ, with_indexes=with_indexes) as found:
        yield found


def build(order: Order, environ: Mapping[str, str], show: Callable[[str], None]) -> None:
    """Let the engine build it; `show` gets what the steps print. Raises StepError, NoBuildKitError, EngineError."""
    found = program(environ)
    if (order.secrets or order.mounts) and not found.buildkit:
        raise NoBuildKitError(
            f"what is mounted for a step, as secrets are, needs BuildKit, which {found.path} cannot use without its"
            " plugin buildx",
            hint="install it: apt-get install docker-buildx-plugin (in Debian's own packages: docker-buildx)",
        )
    kit = {"DOCKER_BUILDKIT": "1" if found.buildkit else "0"}
    with subprocess.Popen(
        [found.path, "build", *_flags(order, found, environ)],
        env={**environ, **kit},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - they are pipes
        try:
            process.stdin.write(order.text.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it says why
        said = _Said(show)
        try:
            for line in process.stdout:
                said.hear(uncoloured(line.decode(errors="replace")).rstrip())
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise said.error()


def _flags(order: Order, found: Program, environ: Mapping[str, str]) -> Iterator[str]:
    # The older builder would leave the container of a step that failed.
    yield "--progress=plain" if found.buildkit else "--force-rm"
    if order.anew:
        yield "--no-cache"
    if order.platform is not None:
        yield f"--platform={order.platform}"
    if order.made_for is not None:
        yield engine_images.mark(order.made_for)
    for secret in order.secrets:
        yield f"--secret={secret}"
    # docker has these as arguments of every build, and keeps them out of the image's history.
    for name in (*_PROXIES, *map(str.lower, _PROXIES)):
        if environ.get(name) and not _is_here(environ[name]):
            yield f"--build-arg={name}={environ[name]}"
    yield from (("--tag", order.name, "-") if order.folder is None else ("--tag", order.name, "--file", "-"))
    if order.folder is not None:
        yield str(order.folder)


def _is_here(address: str) -> bool:
    """Does it lie on this machine itself, which a container is not?"""
    host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    return host == "localhost" or host.startswith("127.") or host == "::1"


@functools.cache
def _program(path: str, home: str, config: str) -> Program:
    # Plugins lie in folders of the person.
    environ = {"PATH": path, "HOME": home, **({"DOCKER_CONFIG": config} if config else {})}
    programs = [each for folder in path.split(os.pathsep) if (each := shutil.which("docker", path=folder or os.curdir))]
    if not programs:
        raise EngineError("there is no docker program on the path")
    able = next((each for each in programs if _knows_buildkit(each, environ)), None)
    return Program(able or programs[0], able is not None)


def _knows_buildkit(path: str, environ: Mapping[str, str]) -> bool:
    if not programs.ask([path, "buildx", "version"], environ, seconds=_SECONDS).failure:
        return True
    major = re.search(r"(\d+)\.", programs.ask([path, "--version"], environ, seconds=_SECONDS).text)
    return major is not None and int(major[1]) < _PLUGIN_FROM


class _Said:
    """What `docker build` prints, of either kind of builder, told apart into steps and their words."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._lines: list[str] = []
        self._steps: dict[str, str] = {}
        self._words: dict[str, list[str]] = defaultdict(list)
        self._step = ""
        self._failed = ""
        self._reason = ""

    def hear(self, line: str) -> None:
        self._lines = [*self._lines[-3 * LINES :], line]
        number, _, rest = line[1:].partition(" ") if line.startswith("#") else ("", "", "")
        if number.isdecimal():
            self._of_buildkit(number, rest)
        elif (step := _OLD_INSTRUCTION.fullmatch(line)) is not None:
            self._step = line
            self._steps[line] = step[1]
        elif "returned a non-zero code" in line:
            self._failed, self._reason = self._step, line
        elif self._step and line and not _OLD_NOISE.match(line):
            self._word(self._step, line)

    def error(self) -> EngineError:
        """What went wrong, once it ended."""
        instruction = self._steps.get(self._failed)
        if instruction is None:
            return EngineError(f"docker build: {self._last()}")
        status = _STATUS.search(self._reason)
        words = self._words[self._failed][-LINES:]
        seen = bool(words) and self._show is not hidden
        words = words or ([] if status else [self._reason])
        return StepError(instruction, int(status[1]) if status else None, "\n".join(words), seen=seen)

    def _last(self) -> str:
        """Why it ended, out of all that was said."""
        lines = [line for line in self._lines if line]
        reasons = [found[1] for line in lines if (found := _ENDED.match(line))]
        if reasons or self._reason:
            return reasons[-1] if reasons else self._reason
        return lines[-1] if lines else "it said nothing"

    def _of_buildkit(self, number: str, rest: str) -> None:
        seconds, _, word = rest.partition(" ")
        if (step := _INSTRUCTION.fullmatch(rest)) is not None:
            self._steps[number] = step[1]
        elif rest.startswith("ERROR: "):
            self._failed, self._reason = number, rest.removeprefix("ERROR: ")
        elif number in self._steps and re.fullmatch(r"\d+\.\d+", seconds):
            self._word(number, word)

    def _word(self, step: str, word: str) -> None:
        # What counts on one line has come to its last.
        word = word.rpartition("\r")[2]
        self._words[step] = [*self._words[step][-LINES:], word]
        self._show(word)
