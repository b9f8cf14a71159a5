"""The peers, each in an environment of its own under bench/.env, from the package index, at the versions named here."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE / ".env"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment and what is installed in it. `find_links` also looks into the folder of PIP_FIND_LINKS."""

    name: str
    packages: tuple[str, ...] = field(default=())

    @property
    def folder(self) -> Path:
        return ROOT / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def make(self) -> Environment:
        """Make it if it is not there as described. Raises CalledProcessError when a package cannot be had."""
        stamp = self.folder / ".packages"
        if stamp.exists() and stamp.read_text() == " ".join(self.packages):
            return self
        uv = Path(sys.executable).with_name("uv")
        links = [part for name in os.environ.get("PIP_FIND_LINKS", "").split() for part in ("--find-links", name)]
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, self.folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", self.python]
        subprocess.run([*install, *links, *self.packages], check=True)
        stamp.write_text(" ".join(self.packages))
        return self


def compile_ours() -> None:
    """Bytecode for our own code and what it imports: as pip leaves an installation, and as the peers' are.

    A checkout has it for what has run since it was changed, and where PYTHONDONTWRITEBYTECODE is set for nothing.
    """
    folders = [sysconfig.get_path("purelib"), *(HERE.parent / part for part in ("src", "runner/src", "sdk/src"))]
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-j", "0", *folders], check=False)


def cpu_torch() -> str | None:
    """The requirement of a CPU build of torch, where a wheel of one lies in a folder of PIP_FIND_LINKS.

    The index's own Linux wheel brings two gigabytes for a GPU, which say nothing about a cold start.
    """
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    for folder in os.environ.get("PIP_FIND_LINKS", "").split():
        for wheel in sorted(Path(folder).glob(f"torch-*+cpu-{tag}-*.whl")) if Path(folder).is_dir() else []:
            return f"torch=={wheel.name.split('-')[1]}"
    return None


COG = Environment(name="cog", packages=("cog==0.23.1", "coglet==0.23.1"))
FASTAPI = Environment(name="fastapi", packages=("fastapi==0.165.0", "uvicorn[standard]==0.54.0"))
CELERY = Environment(name="celery", packages=("celery[redis]==5.7.0",))
PROFILER = Environment(name="profiler", packages=("py-spy",))


def cog_with_torch() -> Environment | None:
    torch = cpu_torch()
    return Environment(name="cog-torch", packages=(*COG.packages, torch)) if torch else None
