"""Checks of this machine against what the project asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from modelyard.packaging import requirements
from modelyard.packaging.compatibility import resolution, tables
from modelyard.packaging.doctor.case import Case
from modelyard.packaging.doctor.findings import Finding
from modelyard.packaging.doctor.machine import Gpu
from modelyard.packaging.requirements import RequirementsError

# The first CUDA, and the first torch, with kernels for a generation of GPUs, by the major part of its capability.
# Within a generation older kernels run on newer GPUs. From NVIDIA's and PyTorch's release notes, as of 2025.
_FIRST_CUDA: Final = {8: (11, 0), 9: (11, 8), 10: (12, 8), 12: (12, 8)}
_FIRST_TORCH: Final = {9: (2, 0), 10: (2, 7), 12: (2, 7)}
# CUDA 13 left everything before Turing.
_CUDA_13: Final = (13, 0)
_OLDEST_OF_CUDA_13: Final = (7, 5)

# Torch has several releases a year.
OLD_DAYS: Final = 270


def docker(case: Case) -> list[Finding] | None:
    """env-docker: Docker answers. Only projects that ask for what an image alone can have need it."""
    reason = case.machine.docker
    if reason is None:
        return None
    if not reason:
        return []
    wanted = [
        key for key, value in (("system_packages", "system_packages"), ("run", "commands")) if case.values.get(value)
    ]
    if wanted:
        needs = f" (needed for build.{' and build.'.join(wanted)})"
        remedy = "Install Docker, start it, and try: docker version"
        return [Finding(severity="error", message=f"Docker is not available: {reason}{needs}", remedy=remedy)]
    remedy = "Nothing to do: this project needs no Docker to run or serve it here"
    return [Finding(severity="info", message=f"Docker is not available: {reason}", remedy=remedy)]


def python(case: Case) -> list[Finding] | None:
    """env-python-version: what this machine calls python3. Only told, as the model gets a Python of its own."""
    wanted, here = case.values.get("python_version"), case.machine.python
    if case.document is None or here is None:
        return None
    if wanted in (None, here):
        return []
    message = f"local Python is {here or 'not installed'} but {case.name} specifies {wanted}"
    remedy = f"Nothing to do: the model runs on a Python {wanted} of its own, which is fetched where there is none"
    return [Finding(severity="info", message=message, remedy=remedy)]


def pip(case: Case) -> list[Finding]:
    """env-pip-settings: pip's files can be read; what they say of indexes counts when an environment is made."""
    remedy = "Correct the file: pip config debug reads it as well"
    return [
        Finding(severity="warning", message=f"pip's settings are passed over: {fault}", remedy=remedy)
        for fault in case.machine.pip
    ]


def gpu(case: Case) -> list[Finding] | None:
    """env-gpu-compat: the packages of a model that wants a GPU have kernels for those that are here."""
    if case.document is None or case.machine.gpus is None:
        return None
    if not case.values.get("gpu"):
        return []
    found = [*_old_tables(case)]
    for each in dict.fromkeys(case.machine.gpus):
        message = _unfit(case, each)
        if message is not None:
            found.append(Finding(severity="warning", message=message[0], file=case.name, remedy=message[1]))
    return found


def _old_tables(case: Case) -> Iterator[Finding]:
    """What torch and CUDA go together is looked up in tables, which know nothing of later releases."""
    made, today = tables.made(), case.machine.today
    if today is not None and (today - made).days > OLD_DAYS:
        message = f"the tables of CUDA, cuDNN, torch and TensorFlow are of {made}; later releases are not in them"
        yield Finding(severity="info", message=message, remedy="Install a newer Modelyard, or name build.cuda yourself")


def _unfit(case: Case, gpu: Gpu) -> tuple[str, str] | None:
    """Why a GPU is not served, and what would serve it."""
    named = f"{gpu.name} (compute capability {gpu.capability[0]}.{gpu.capability[1]})"
    cuda = _written_cuda(case)
    first = _FIRST_CUDA.get(gpu.capability[0])
    if cuda is not None and first is not None and cuda < first:
        return f"CUDA {_text(cuda)} has no kernels for {named}", f"Set build.cuda to {_text(first)} or newer"
    if cuda is not None and cuda >= _CUDA_13 and gpu.capability < _OLDEST_OF_CUDA_13:
        return f"CUDA {_text(cuda)} has no kernels for {named}", "Set build.cuda to 12.8 or older"
    torch = _torch(case)
    first = _FIRST_TORCH.get(gpu.capability[0])
    if torch is not None and first is not None and torch < first:
        return f"torch {_text(torch)} has no kernels for {named}", f"Require torch {_text(first)} or newer"
    return None


def _written_cuda(case: Case) -> tuple[int, ...] | None:
    """The CUDA that cog.yaml names itself; one that follows from torch is torch's matter."""
    build = case.document.get("build") if case.document else None
    node = build.get("cuda") if build else None
    return None if node is None else _minor(str(node.value))


def _torch(case: Case) -> tuple[int, ...] | None:
    """The minor of torch that the project pins."""
    file, packages = case.values.get("python_requirements"), case.values.get("python_packages")
    try:
        wanted = requirements.read(case.root, file, packages or ())
    except RequirementsError:
        return None
    return _minor(resolution.pinned("torch", wanted.packages) or "")


def _minor(version: str) -> tuple[int, ...] | None:
    found = tables.numbers(version)[:2]
    return found if len(found) == 2 else None


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
