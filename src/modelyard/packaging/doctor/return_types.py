"""The check of return types: without one there is no schema."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.packaging.doctor.case import Case
from modelyard.packaging.doctor.findings import Finding
from modelyard.packaging.schema_source import functions
from modelyard.packaging.schema_source.functions import Target
from modelyard.packaging.schema_source.modules import SchemaError


def look(case: Case) -> list[Finding] | None:
    """python-missing-type-annotations: the functions that answer say what they return."""
    if not case.modules:
        return None
    found = []
    for target in _targets(case):
        if target.node.returns is None:
            name = f"{target.owner.name}.{target.node.name}" if target.owner else target.node.name
            remedy = f"Write what it returns, as: def {target.node.name}(...) -> str:"
            message = f"{name}() is missing a return type annotation"
            file = target.module.name
            found.append(
                Finding(severity="warning", message=message, file=file, line=target.node.lineno, remedy=remedy)
            )
    return found


def _targets(case: Case) -> Iterator[Target]:
    project = next(iter(case.modules.values())).project
    for reference in case.references:
        try:
            yield functions.find(project, reference.text, "train" if reference.key == "train" else "predict")
        except SchemaError:
            continue  # that it cannot be found is the business of another check
