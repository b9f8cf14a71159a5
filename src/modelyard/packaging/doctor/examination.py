"""All checks in their order, one after the other, each followed by its mending where that is wanted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelyard import durable
from modelyard.packaging.doctor import (
    config_checks,
    imports,
    machine_checks,
    migration,
    pydantic_models,
    return_types,
)
from modelyard.packaging.doctor.case import Case
from modelyard.packaging.doctor.findings import CannotMend, Changes, Check, Finding

CHECKS: Final = (
    Check("config-parse", "Config", "Config parsing", config_checks.parsing),
    Check("config-schema", "Config", "Config schema", config_checks.schema),
    Check("predict-to-run-migration", "Config", "Deprecated predict interface names", migration.look, migration.mend),
    Check("config-deprecated-fields", "Config", "Deprecated fields", config_checks.deprecated_fields),
    Check("config-predict-ref", "Config", "Predict reference", config_checks.references),
    Check(
        "python-pydantic-basemodel",
        "Python",
        "Pydantic BaseModel workaround",
        pydantic_models.look,
        pydantic_models.mend,
    ),
    Check("python-deprecated-imports", "Python", "Deprecated imports", imports.look, imports.mend),
    Check("python-missing-type-annotations", "Python", "Type annotations", return_types.look),
    Check("env-docker", "Environment", "Docker", machine_checks.docker),
    Check("env-python-version", "Environment", "Python version", machine_checks.python),
    Check("env-gpu-compat", "Environment", "GPU compatibility", machine_checks.gpu),
    # Not one of Cog's; so it comes last.
    Check("env-pip-settings", "Environment", "pip's settings", machine_checks.pip),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one check came to. `left`: what is still so; None where the question could not be asked.

    `fixed`: what was so before. `failure`: why mending failed. `renamed`: old and new names of files. `can_be_fixed`:
    mending, which nobody asked for, would do something.
    """

    check: Check
    left: tuple[Finding, ...] | None
    fixed: tuple[Finding, ...] = ()
    failure: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    can_be_fixed: bool = False

    @property
    def state(self) -> str:
        """One word: skipped, failed, error, warning, fixed, info or ok; the worst of what applies."""
        if self.left is None:
            return "skipped"
        if self.failure:
            return "failed"
        severities = {finding.severity for finding in self.left}
        for severity in ("error", "warning"):
            if severity in severities:
                return severity
        return "fixed" if self.fixed else "info" if severities else "ok"

    def count(self, severity: str) -> int:
        """How many findings of a severity are left."""
        return sum(finding.severity == severity for finding in self.left or ())

    def to_json(self) -> dict[str, Any]:
        findings = [{**each.to_json(), "fixed": True} for each in self.fixed]
        findings += [{**each.to_json(), "fixed": False} for each in self.left or ()]
        said = {"name": self.check.name, "group": self.check.group, "description": self.check.about}
        return {**said, "state": self.state, "fix_error": self.failure or None, "findings": findings}


def examine(read: Callable[[], Case], *, fix: bool) -> Iterator[Result]:
    """The results in the order of the checks. `read` reads the project, again whenever something was changed in it."""
    case = read()
    for check in CHECKS:
        left = check.look(case)
        if not fix or not left or check.mend is None:
            possible = bool(left) and _can_be_mended(check, case)
            yield Result(check=check, left=None if left is None else tuple(left), can_be_fixed=possible)
            continue
        try:
            changes = check.mend(case)
            renamed = tuple(_renamed(changes))
            _apply(changes, case.root.resolve())
        except CannotMend as reason:
            yield Result(check=check, left=tuple(left), failure=str(reason))
            continue
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            yield Result(check=check, left=tuple(left), failure=f"{where}{error.strerror or error}")
            continue
        case = read()
        still = tuple(check.look(case) or ())
        places = {(finding.file, finding.message) for finding in still}
        fixed = tuple(finding for finding in left if (finding.file, finding.message) not in places)
        yield Result(check=check, left=still, fixed=fixed, renamed=renamed)


def _can_be_mended(check: Check, case: Case) -> bool:
    """Whether a mending that is asked for would change something. Nothing is written."""
    try:
        return check.mend is not None and bool(check.mend(case))
    except (CannotMend, OSError):
        return False


def _renamed(changes: Changes) -> Iterator[tuple[str, str]]:
    """The files that get another name: one that goes and one that comes."""
    gone = [path.name for path, content in changes.items() if content is None]
    come = [path.name for path, content in changes.items() if content is not None and not path.exists()]
    return zip(gone, come, strict=False)


def _apply(changes: Changes, root: Path) -> None:
    """All files or none, but for a disk that fails in the middle of the renames.

    Then each file is still whole, nothing is lost, and the mending can be begun anew.
    """
    outside = next((path for path in changes if not path.resolve().is_relative_to(root)), None)
    if outside is not None:
        raise CannotMend(f"Manual migration required: {outside.name} is a link to a file outside of the project")
    partials: dict[Path, Path] = {}
    try:
        for path, content in changes.items():
            if content is not None:
                like = next(old for old in (path, *reversed(list(changes))) if old.exists())
                _write(path.resolve(), content, like.stat().st_mode & 0o7777, partials)
        for path, partial in partials.items():
            partial.replace(path)
        for folder in {path.parent for path in partials}:
            durable.sync(folder)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
    for path, content in changes.items():
        if content is None:
            path.unlink()


def _write(path: Path, content: bytes, mode: int, partials: dict[Path, Path]) -> None:
    """A file beside the one that it shall become; `partials` has it from the moment that it is there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".doctor-")
    partials[path] = Path(name)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    partials[path].chmod(mode)
    durable.sync(partials[path])
