"""All checks in their order, one after the other, each followed by its mending where that is wanted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

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
    Check(name="config-parse", group="Config", about="Config parsing", look=config_checks.parsing),
    Check(name="config-schema", group="Config", about="Config schema", look=config_checks.schema),
    Check(
        name="predict-to-run-migration",
        group="Config",
        about="Deprecated predict interface names",
        look=migration.look,
        mend=migration.mend,
    ),
    Check(
        name="config-deprecated-fields",
        group="Config",
        about="Deprecated fields",
        look=config_checks.deprecated_fields,
    ),
    Check(name="config-predict-ref", group="Config", about="Predict reference", look=config_checks.references),
    Check(
        name="python-pydantic-basemodel",
        group="Python",
        about="Pydantic BaseModel workaround",
        look=pydantic_models.look,
        mend=pydantic_models.mend,
    ),
    Check(
        name="python-deprecated-imports",
        group="Python",
        about="Deprecated imports",
        look=imports.look,
        mend=imports.mend,
    ),
    Check(
        name="python-missing-type-annotations",
        group="Python",
        about="Type annotations",
        look=return_types.look,
    ),
    Check(name="env-docker", group="Environment", about="Docker", look=machine_checks.docker),
    Check(name="env-python-version", group="Environment", about="Python version", look=machine_checks.python),
    Check(name="env-gpu-compat", group="Environment", about="GPU compatibility", look=machine_checks.gpu),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one check came to. `left`: what is still so; None where the question could not be asked.

    `fixed`: what was so before. `failure`: why mending failed.
    """

    check: Check
    left: tuple[Finding, ...] | None
    fixed: tuple[Finding, ...] = ()
    failure: str = ""

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
        """For programs."""
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
            yield Result(check=check, left=None if left is None else tuple(left))
            continue
        try:
            _apply(check.mend(case), case.root.resolve())
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
        yield Result(check=check, left=still, fixed=fixed)


def _apply(changes: Changes, root: Path) -> None:
    """New files first, those that go last: what is cut off in between can be begun anew, and nothing is lost."""
    outside = next((path for path in changes if not path.resolve().is_relative_to(root)), None)
    if outside is not None:
        raise CannotMend(f"Manual migration required: {outside.name} is a link to a file outside of the project")
    for path, content in changes.items():
        if content is None:
            path.unlink()
        else:
            _write(path.resolve(), content, like=next(old for old in (path, *reversed(list(changes))) if old.exists()))


def _write(path: Path, content: bytes, *, like: Path) -> None:
    """The whole file or nothing of it, with the permissions of another one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".doctor-")
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        partial.chmod(like.stat().st_mode & 0o7777)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
