"""Names that Cog no longer has, and how a file does without them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.packaging.doctor.case import Case
from modelyard.packaging.doctor.edits import Edits, bound
from modelyard.packaging.doctor.findings import CannotMend, Finding
from modelyard.packaging.schema_source.modules import Module

# Where it stood, what it was called, what became of it.
_REMOVED: Final = {
    ("cog.types", "ExperimentalFeatureWarning"): "was removed in cog 0.17; current_scope() needs no warning filter"
}


@dataclass(frozen=True, slots=True)
class _Use:
    """A name where it is used: the statement around it, and the body that this stands in."""

    node: ast.Name
    statement: ast.stmt
    body: list[ast.stmt]


def look(case: Case) -> list[Finding] | None:
    """python-deprecated-imports: nothing is imported that Cog dropped."""
    if not case.modules:
        return None
    return [
        Finding(
            severity="error",
            message=f"{alias.name} {_REMOVED[node.module or '', alias.name]}",
            file=module.name,
            line=node.lineno,
            remedy=f"Remove the import of {alias.name} and what uses it",
        )
        for module in case.modules.values()
        for node, alias in _imports(module)
    ]


def mend(case: Case) -> dict[Path, bytes]:
    """Every such import is taken out, with the statements that use it and the imports that only those needed."""
    return {module.path: _rewritten(module) for module in case.modules.values() if any(_imports(module))}


def _imports(module: Module) -> Iterator[tuple[ast.ImportFrom, ast.alias]]:
    """Those at the top level; what stands inside of a `try` has thought of the name's absence."""
    for node in module.tree.body:
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node, alias) for alias in node.names if (node.module, alias.name) in _REMOVED)


def _rewritten(module: Module) -> bytes:
    edits = Edits(module)
    names = set()
    for statement in {node for node, _ in _imports(module)}:
        gone = {bound(alias) for node, alias in _imports(module) if node is statement}
        edits.drop_imported(statement, gone)
        names |= gone
    uses = [use for use in _uses(module.tree, names) if use.node.id in names]
    removed = {use.statement for use in uses}
    every = Counter(_names(module.tree))
    inside = Counter(name for statement in removed for name in _names(statement))
    for use in uses:
        _check_removable(module, use, every, inside)
    for body in {id(use.body): use.body for use in uses}.values():
        edits.drop_statements(body, [node for node in body if node in removed])
    unneeded = {name for name in inside if inside[name] == every[name]} - names
    for node in module.tree.body:
        if isinstance(node, ast.Import) and any(bound(alias) in unneeded for alias in node.names):
            edits.drop_imported(node, unneeded)
    return edits.result()


def _check_removable(module: Module, use: _Use, every: Counter[str], inside: Counter[str]) -> None:
    """A call for its own sake may go anywhere; at the top level also a value that nothing else needs."""
    statement = use.statement
    if isinstance(statement, ast.Expr):
        return
    if use.body is module.tree.body and isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if all(isinstance(each, ast.Name) and every[each.id] == inside[each.id] for each in targets):
            return
    place = f"{module.name}:{statement.lineno}"
    raise CannotMend(f"Manual migration required: {place}: other code needs the statement that uses {use.node.id}")


def _uses(tree: ast.Module, names: set[str]) -> Iterator[_Use]:
    """Every use of the names, with the innermost statement around it."""
    for statement in tree.body:
        yield from _walk(statement, statement, tree.body, names)


def _walk(node: ast.AST, statement: ast.stmt, body: list[ast.stmt], names: set[str]) -> Iterator[_Use]:
    if isinstance(node, ast.Name) and node.id in names:
        yield _Use(node, statement, body)
    for _, value in ast.iter_fields(node):
        inner = value if isinstance(value, list) else [value]
        for each in inner:
            if isinstance(each, ast.stmt):
                yield from _walk(each, each, inner, names)
            elif isinstance(each, ast.AST):
                yield from _walk(each, statement, body, names)


def _names(node: ast.AST) -> Iterator[str]:
    return (inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
