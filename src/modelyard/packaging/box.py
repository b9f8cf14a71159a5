"""Where the program beside a model lies on this host: the folders that go on the model's PYTHONPATH."""

from __future__ import annotations

from pathlib import Path

PACKAGES = ("cog", "modelyard_runner")


class BoxMissingError(RuntimeError):
    """This installation is incomplete: neither the wheel's own copy nor a checkout is there."""


def paths() -> list[str]:
    """Folders that hold `cog` and `modelyard_runner` and nothing else of ours.

    In a checkout these are its source folders, so that a change is seen at once; installed from the wheel, the copy
    that travels in it.
    """
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent.parent
    sources = [checkout / "sdk" / "src", checkout / "runner" / "src"]
    if all((folder / name / "__init__.py").exists() for folder, name in zip(sources, PACKAGES, strict=True)):
        return [str(folder) for folder in sources]
    inside = package / "box"
    if not all((inside / name / "__init__.py").exists() for name in PACKAGES):
        raise BoxMissingError(f"{inside} holds no copy of {' and '.join(PACKAGES)}: install modelyard again")
    return [str(inside)]
