"""What must be executed to make an image of a project, as Dockerfiles. Nothing here is built; it is plain text.

None has a syntax line: an engine would fetch what it names.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from modelyard.packaging.config_source.records import Command, Mount

# Where a Python lies that no package of the system brings.
BROUGHT_PYTHON: Final = "/opt/modelyard/python"
# Without a terminal of its own dpkg does not count what it reads.
_APT = "apt-get -o Dpkg::Use-Pty=0"
# apt knows no variable for the authorities to trust.
_APT_TRUSTS = f"{_APT} -o Acquire::https::CAInfo=$SSL_CERT_FILE"
_SYSTEM = """FROM {base}
USER root
RUN {mounts}set -eu; export {variables}DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes; \\
    {apt} update -qq; \\
    {apt} install -qqy {flags}{packages}; \\
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig/aux-cache
"""
# Not all that ends in .py is code. Without times in it the bytecode is good wherever the layer is unpacked.
_COMPILE = "python -m compileall -qq -j 0 --invalidation-mode unchecked-hash {folders} || true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A file that this machine lends to what is executed: the secret's name, its place meanwhile, and the variables
    that hold that place. Nothing of it stays in a layer, since no layer has what lies in /dev."""

    id: str
    target: str
    variables: tuple[str, ...]


def system_packages(base: str, packages: Sequence[str], lent: Sequence[Lent] = (), *, flags: str = "") -> str:
    """The base with Debian's packages in it; they and their dependencies are one layer."""
    apt = _APT_TRUSTS if any("SSL_CERT_FILE" in each.variables for each in lent) else _APT
    # The image goes on from here, so they are in the step alone.
    variables = "".join(f"{pair} " for pair in _variables(lent))
    lending = {"variables": variables, "mounts": _mounts(_as_mounts(lent))}
    return _SYSTEM.format(base=base, apt=apt, flags=flags, packages=shlex.join(packages), **lending)


def with_python(image: str, minor: str, lent: Sequence[Lent] = (), *, from_apt: bool) -> str:
    """An image without Python, with one: the system's own package of it, or what the folder `python` has."""
    if from_apt:
        packages = [f"python{minor}", "ca-certificates"]
        return system_packages(image, packages, lent, flags="--no-install-recommends ")
    return f"FROM {image}\nUSER root\nCOPY python {BROUGHT_PYTHON}\n"


def steps(base: str, commands: Sequence[Command], lent: Sequence[Lent] = (), compiled: Sequence[str] = ()) -> str:
    """What stands on the model's packages: a layer for each command, and one for the bytecode of the folders
    `compiled`."""
    lines = [f"FROM {base}", "USER root"]
    if lent:
        lines.append(f"ENV {' '.join(_variables(lent))}")
    lines += [f"RUN {_mounts([*_as_mounts(lent), *each.mounts])}{each.command}" for each in commands]
    if compiled:
        lines.append("RUN " + _COMPILE.format(folders=" ".join(compiled)))
    return "".join(f"{line}\n" for line in lines)


def needs_buildkit(commands: Sequence[Command]) -> bool:
    """Would the older builder of an engine not understand these?"""
    return any(each.mounts or each.command.lstrip().startswith("--") for each in commands)


def _as_mounts(lent: Sequence[Lent]) -> list[Mount]:
    return [Mount(type="secret", id=each.id, target=each.target) for each in lent]


def _mounts(mounts: Sequence[Mount]) -> str:
    return "".join(f"--mount=type={mount.type},id={mount.id},target={mount.target} " for mount in mounts)


def _variables(lent: Sequence[Lent]) -> list[str]:
    return [f"{name}={each.target}" for each in lent for name in each.variables]
