"""Names that Cog no longer has, and how a file does without them."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.packaging.doctor import uses
from modelyard.packaging.doctor.case import Case
from modelyard.packaging.doctor.edits import Edits, bindings, bound, names, texts
from modelyard.packaging.doctor.findings import CannotMend, Finding
from modelyard.packaging.schema_source.modules import Module

# Where it stood, what it was called, what became of it.
_REMOVED: Final = {
    ("cog.types", "ExperimentalFeatureWarning"): "was removed in cog 0.17; current_scope() needs no warning filter"
}
# What makes more of an expression than a call for its own sake.
_MORE: Final = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)


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
    uses.check_readable(case)
    return {module.path: _rewritten(case, module) for module in case.modules.values() if any(_imports(module))}


def _imports(module: Module) -> Iterator[tuple[ast.ImportFrom, ast.alias]]:
    """Those at the top level; what stands inside of a `try` has thought of the name's absence."""
    for node in module.tree.body:
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node, alias) for alias in node.names if (node.module, alias.name) in _REMOVED)


def _rewritten(case: Case, module: Module) -> bytes:
    edits = Edits(module)
    gone: set[str] = set()
    for statement in {node for node, _ in _imports(module)}:
        dropped = {bound(alias) for node, alias in _imports(module) if node is statement}
        edits.drop_imported(statement, dropped)
        gone |= dropped
    found = list(_uses(module.tree, gone))
    removed = {use.statement for use in found}
    every = Counter(names(module.tree))
    inside = Counter(name for statement in removed for name in names(statement))
    for use in found:
        _check_removable(module, use, every, inside)
    for body in {id(use.body): use.body for use in found}.values():
        edits.drop_statements(body, [node for node in body if node in removed])
    unneeded = {name for name in inside if inside[name] == every[name]} - gone
    _check_alone(case, module, gone, gone | unneeded, removed)
    for node in module.tree.body:
        if isinstance(node, ast.Import) and any(bound(alias) in unneeded for alias in node.names):
            edits.drop_imported(node, unneeded)
    return edits.result()


def _check_alone(
    case: Case, module: Module, gone: Collection[str], lost: Collection[str], removed: Collection[ast.stmt]
) -> None:
    """Refuse where a name that is `gone` means something else too, or one that is `lost` is used elsewhere."""
    known = {alias for _, alias in _imports(module)}
    for name in gone:
        for node in bindings(module.tree, name):
            if node not in known:
                place = f"{module.name}:{getattr(node, 'lineno', 1)}"
                raise CannotMend(f"Manual migration required: {place}: {name} is the name of something else as well")
    user = uses.elsewhere(case, module, lost)
    if user is not None:
        raise CannotMend(f"Manual migration required: {user} takes names from {module.name} that would be gone")
    inside = Counter(text for statement in removed for _, text in texts(statement))
    every = Counter(text for _, text in texts(module.tree))
    for name in lost:
        if every[name] > inside[name]:
            raise CannotMend(f"Manual migration required: {module.name} names {name} in a text")


def _check_removable(module: Module, use: _Use, every: Counter[str], inside: Counter[str]) -> None:
    """A call for its own sake may go anywhere; at the top level also a value that nothing else needs."""
    statement = use.statement
    if isinstance(statement, ast.Expr) and not any(isinstance(node, _MORE) for node in ast.walk(statement)):
        return
    if use.body is module.tree.body and isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if all(isinstance(each, ast.Name) and every[each.id] == inside[each.id] for each in targets):
            return
    place = f"{module.name}:{statement.lineno}"
    raise CannotMend(f"Manual migration required: {place}: other code needs the statement that uses {use.node.id}")


def _uses(tree: ast.Module, wanted: Collection[str]) -> Iterator[_Use]:
    """Every use of the names in the order of the text, with the innermost statement around it."""
    waiting: list[tuple[ast.AST, ast.stmt, list[ast.stmt]]] = [(each, each, tree.body) for each in reversed(tree.body)]
    while waiting:
        node, statement, body = waiting.pop()
        if isinstance(node, ast.Name) and node.id in wanted:
            yield _Use(node, statement, body)
        inner: list[tuple[ast.AST, ast.stmt, list[ast.stmt]]] = []
        for _, value in ast.iter_fields(node):
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, ast.stmt):
                    inner.append((each, each, value))
                elif isinstance(each, ast.AST):
                    inner.append((each, statement, body))
        waiting += reversed(inner)
