"""This machine, as far as a model's project asks for it: Docker, a Python, GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from modelyard import programs
from modelyard.store import pip_settings

SKIP_DOCKER: Final = "COG_SKIP_DOCKER_CHECK"
SKIP_GPU: Final = "COG_SKIP_GPU_CHECK"
# A daemon that does not answer must not hold up the rest.
SECONDS: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU with its compute capability: (9, 0) for an H100."""

    name: str
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was seen. None: nobody looked.

    `docker`: why it is not available, "" where it is. `python`: the minor of `python3`, "" where there is none.
    `pip`: what is wrong with its settings.
    """

    docker: str | None = None
    python: str | None = None
    gpus: tuple[Gpu, ...] | None = None
    today: date | None = None
    pip: tuple[str, ...] = ()


def observe(environ: Mapping[str, str], today: date | None = None) -> Machine:
    """This machine; what the variables of Cog say to skip is not looked at."""
    return Machine(
        docker=None if environ.get(SKIP_DOCKER) else _docker(environ),
        python=_python(environ),
        gpus=None if environ.get(SKIP_GPU) else _gpus(environ),
        today=today,
        pip=tuple(pip_settings.faults(environ)),
    )


def _docker(environ: Mapping[str, str]) -> str:
    return programs.ask(["docker", "version", "--format", "{{.Server.Version}}"], environ, seconds=SECONDS).failure


def _python(environ: Mapping[str, str]) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return programs.ask(["python3", "-I", "-S", "-c", code], environ, seconds=SECONDS).text.strip()


def _gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    return read_gpus(programs.ask(query, environ, seconds=SECONDS).text)


def read_gpus(said: str) -> tuple[Gpu, ...]:
    """The GPUs in lines as `NVIDIA H100 80GB HBM3, 9.0`; a driver that tells no capability tells nothing here."""
    found = []
    for line in said.splitlines():
        name, _, capability = line.rpartition(",")
        major, _, minor = capability.strip().partition(".")
        if major.isdigit() and minor.isdigit():
            found.append(Gpu(name=name.strip(), capability=(int(major), int(minor))))
    return tuple(found)
