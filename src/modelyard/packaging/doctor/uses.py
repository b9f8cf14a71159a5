"""Who else relies on what a mending changes, in the files that the model imports."""

from __future__ import annotations

import ast
from collections.abc import Collection

from modelyard.packaging.doctor.case import Case
from modelyard.packaging.doctor.findings import CannotMend
from modelyard.packaging.schema_source.modules import Inner, Module


def check_readable(case: Case) -> None:
    """Refuse to judge where a file that may use a name cannot be read."""
    for file in case.broken:
        raise CannotMend(f"Manual migration required: {file} cannot be read")


def elsewhere(case: Case, module: Module, names: Collection[str]) -> str | None:
    """Where another file takes one of the names from this one, or all that it has: `run.py:3`."""
    for other in case.modules.values():
        for node in ast.walk(other.tree) if other is not module else ():
            match node:
                case ast.ImportFrom(names=aliases):
                    taken = {alias.name for alias in aliases} & {*names, "*"} if _is_from(node, module) else None
                case ast.Attribute(attr=attribute, value=owner):
                    taken = {attribute} if attribute in names and _is_module(other, owner, module) else None
                case _:
                    continue
            if taken:
                return f"{other.name}:{node.lineno}"
    return None


def _is_from(node: ast.ImportFrom, module: Module) -> bool:
    """Whether it may import from the file; only the last part of its name is compared."""
    last = (node.module or "").rpartition(".")[2]
    if module.path.name == "__init__.py":
        return last in ("", module.path.parent.name)
    return last == module.path.stem


def _is_module(other: Module, node: ast.expr, module: Module) -> bool:
    named = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return named in (module.path.stem, module.path.parent.name) or other.resolve(node) == Inner(module)
