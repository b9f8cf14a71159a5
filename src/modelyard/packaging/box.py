"""Where the program beside a model lies on this host: the folders that go on the model's PYTHONPATH."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from modelyard import errors

# Which Cog, and which server of it, somebody wants in images.
_WHEELS = ("COG_SDK_WHEEL", "COGLET_WHEEL")
PACKAGES = ("cog", "modelyard_runner")


class BoxMissingError(RuntimeError):
    """This installation is incomplete: neither the wheel's own copy nor a checkout is there."""


class WheelMissingError(errors.Invalid):
    """A variable names a wheel that is not there."""

    code = "wheel_missing"
    title = "Wheel not found"


def check_wheels(environ: Mapping[str, str], root: Path) -> Iterator[str]:
    """What there is to say of Cog's own wheels that variables name: ours run instead. Raises WheelMissingError."""
    for name in _WHEELS:
        wanted = environ.get(name, "").strip()
        if not wanted:
            continue
        is_path = "://" not in wanted and wanted not in ("pypi", "dist") and not wanted.startswith("pypi:")
        if is_path and not Path(wanted).expanduser().exists() and not (root / wanted).exists():
            raise WheelMissingError(
                f"{name}: path not found: {wanted}", hint=f"nothing here needs {name}: the `cog` of this yard runs"
            )
        yield f"{name} is passed over: here the `cog` of this yard always runs"


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
