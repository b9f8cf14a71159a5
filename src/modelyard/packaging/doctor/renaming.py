"""The class of a model with today's names: of the class, its base and its method, wherever the file uses them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from modelyard.packaging.doctor.edits import Edits, bindings, texts
from modelyard.packaging.doctor.findings import CannotMend
from modelyard.packaging.schema_source.modules import Defined, External, Module, member

OLD_BASE: Final = External("cog.BasePredictor")
# Bases that have no `predict` that a class could rely on but the one that answers by `run`.
_KNOWN_BASES: Final = frozenset({OLD_BASE.name, "cog.BaseRunner", "builtins.object", "abc.ABC", "typing.Generic"})
_METHOD = ast.FunctionDef | ast.AsyncFunctionDef


def rewritten(module: Module, name: str) -> bytes:
    """The file with new names. Raises CannotMend where a person has to look."""
    cls = _class(module, name)
    _check_class(module, cls)
    edits = Edits(module)
    if name == "Predictor":
        _rename_class(module, edits, cls)
    _rename_base(module, edits)
    for method in methods(cls, "predict"):
        edits.rename_definition(method, "run")
    return edits.result()


def methods(cls: ast.ClassDef, name: str) -> list[_METHOD]:
    """The methods of a name in a class's own body."""
    return [node for node in cls.body if isinstance(node, _METHOD) and node.name == name]


def has_old_base(module: Module, name: str) -> bool:
    """Whether the class is one of Cog's, which answers `predict` by `run`."""
    return _has_old_base(module, _class(module, name))


def _has_old_base(module: Module, cls: ast.ClassDef) -> bool:
    return any(module.resolve(base) in (OLD_BASE, External("cog.BaseRunner")) for base in cls.bases)


def _class(module: Module, name: str) -> ast.ClassDef:
    classes = [node for node in module.tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    if len(classes) != 1:
        raise CannotMend(f"Manual migration required: {module.name} does not define one class {name}")
    return classes[0]


# What only a person can move


def _check_class(module: Module, cls: ast.ClassDef) -> None:
    name = f"Manual migration required: {cls.name}"
    found = methods(cls, "predict")
    if len(found) > 1:
        raise CannotMend(f"{name} defines predict more than once")
    if not found:
        if methods(cls, "run"):
            return
        raise CannotMend(f"{name} has no method predict of its own")
    if any(
        isinstance(each, ast.Name) and each.id in ("staticmethod", "classmethod", "property")
        for each in found[0].decorator_list
    ):
        raise CannotMend(f"{name}.predict is no plain method")
    has_base = _has_old_base(module, cls)
    _check_inside(cls, has_base)
    if methods(cls, "run"):
        raise CannotMend(f"{name} defines run as well")
    if any(node.id in ("predict", "run") for node in _own_names(cls)):
        raise CannotMend(f"{name} uses the name predict or run in its own body")
    _check_bases(module, cls, name)
    _check_outside(module, cls, has_base)


def _check_inside(cls: ast.ClassDef, has_base: bool) -> None:
    name = f"Manual migration required: {cls.name}"
    functions = [each for each in cls.body if isinstance(each, _METHOD) and each.args.args]
    own = {"self", cls.name, *(each.args.args[0].arg for each in functions)}
    for node in ast.walk(cls):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr="run") if owner in own:
                raise CannotMend(f"{name} uses the name {owner}.run for something else")
            case ast.Attribute(value=ast.Name(id=owner), attr="predict") if owner in own and not has_base:
                raise CannotMend(f"{name} calls its own predict")
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="run" | "predict"):
                raise CannotMend(f"{name} calls the method of its base")


def _own_names(node: ast.AST) -> Iterator[ast.Name]:
    """The names in a class's body, but for those inside of its functions and of what stands in its head."""
    waiting: list[ast.AST] = list(node.body) if isinstance(node, ast.ClassDef) else []
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.Name):
            yield each
        if isinstance(each, _METHOD):
            waiting += [*each.decorator_list, *each.args.defaults, *(part for part in each.args.kw_defaults if part)]
        elif not isinstance(each, ast.Lambda):
            waiting += ast.iter_child_nodes(each)


def _check_bases(module: Module, cls: ast.ClassDef, name: str, depth: int = 0) -> None:
    """A base with methods of these names, or one that cannot be read, may call what would be gone."""
    for base in cls.bases:
        symbol = module.resolve(base.value if isinstance(base, ast.Subscript) else base)
        if isinstance(symbol, Defined) and isinstance(symbol.node, ast.ClassDef) and depth < 16:
            uses = any(isinstance(node, ast.Attribute) and node.attr == "predict" for node in ast.walk(symbol.node))
            if uses or any(member(symbol.module, symbol.node, each) is not None for each in ("predict", "run")):
                raise CannotMend(f"{name} has a base, {symbol.node.name}, with a predict or run as well")
            _check_bases(symbol.module, symbol.node, name, depth + 1)
        elif not isinstance(symbol, External) or symbol.name not in _KNOWN_BASES:
            raise CannotMend(f"{name} has a base, {ast.unparse(base)}, which is not read")


def _check_outside(module: Module, cls: ast.ClassDef, has_base: bool) -> None:
    """The class's users in its file: those that derive from it, and those that call `predict`."""
    inside = set(ast.walk(cls))
    outside = [node for node in ast.walk(module.tree) if node not in inside]
    for node in outside:
        if isinstance(node, ast.ClassDef) and any(isinstance(n, ast.Name) and n.id == cls.name for n in node.bases):
            raise CannotMend(f"Manual migration required: {node.name} derives from {cls.name}")
    for line, text in texts(module.tree) if not has_base else ():
        if text == "predict":
            raise CannotMend(f"Manual migration required: {module.name}:{line}: predict stands in a text")
    called = [node for node in outside if isinstance(node, ast.Attribute) and node.attr == "predict"]
    named = any(isinstance(node, ast.Name) and node.id == cls.name for node in outside)
    if called and named and not has_base:
        place = f"{module.name}:{called[0].lineno}"
        raise CannotMend(f"Manual migration required: {place}: predict is called outside of {cls.name}")


# The names


def _rename_class(module: Module, edits: Edits, cls: ast.ClassDef) -> None:
    if module.lookup("Runner") is not None or any(bindings(module.tree, "Runner")):
        raise CannotMend(f"Manual migration required: {module.name} has something called Runner already")
    _check_only(module, "Predictor", {cls})
    edits.rename_definition(cls, "Runner")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id == "Predictor":
            edits.replace(node, "Runner")
        elif (
            isinstance(node, ast.Attribute)
            and node.attr == "Predictor"
            and not isinstance(module.resolve(node), External)
        ):
            raise CannotMend(f"Manual migration required: {module.name}:{node.lineno}: .Predictor may be the class")


def _check_only(module: Module, name: str, known: set[ast.AST]) -> None:
    """Refuse a name that means something else in another scope, or that stands in a text that code may read."""
    for node in bindings(module.tree, name):
        if node not in known:
            place = f"{module.name}:{getattr(node, 'lineno', 1)}"
            raise CannotMend(f"Manual migration required: {place}: {name} is the name of something else as well")
    for line, text in texts(module.tree):
        if text == name:
            raise CannotMend(f"Manual migration required: {module.name}:{line}: {name} stands in a text")
    for annotation in _annotations(module.tree):
        for line, text in texts(annotation):
            if re.search(rf"\b{name}\b", text):
                raise CannotMend(f"Manual migration required: {module.name}:{line}: {name} stands in a text")


def _annotations(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=ast.expr() as found) | ast.AnnAssign(annotation=found):
                yield found
            case ast.FunctionDef(returns=ast.expr() as found) | ast.AsyncFunctionDef(returns=ast.expr() as found):
                yield found


def _rename_base(module: Module, edits: Edits) -> None:
    """`BasePredictor` of cog, as it is imported or reached through its module, wherever the file uses it."""
    imported: set[ast.AST] = set()
    for node in module.tree.body:
        if not isinstance(node, ast.ImportFrom) or node.level:
            continue
        for alias in node.names:
            if alias.name != "BasePredictor":
                continue
            if node.module != "cog":
                raise CannotMend(f"Manual migration required: {module.name} imports BasePredictor from {node.module}")
            edits.rename_imported(alias, "BaseRunner")
            if alias.asname is None:
                imported.add(alias)
    if imported:
        _check_only(module, "BasePredictor", imported)
        if any(not _is_cogs(module, node) for node in bindings(module.tree, "BaseRunner")):
            raise CannotMend(f"Manual migration required: {module.name} has something called BaseRunner already")
    for use in ast.walk(module.tree):
        if imported and isinstance(use, ast.Name) and use.id == "BasePredictor":
            edits.replace(use, "BaseRunner")
        elif isinstance(use, ast.Attribute) and use.attr == "BasePredictor" and module.resolve(use) == OLD_BASE:
            edits.replace(use, f"{ast.unparse(use.value)}.BaseRunner")


def _is_cogs(module: Module, node: ast.AST) -> bool:
    """Whether a binding of `BaseRunner` is Cog's own, imported at the top."""
    imports = (each for each in module.tree.body if isinstance(each, ast.ImportFrom) and each.module == "cog")
    return any(node in each.names and node.name == "BaseRunner" for each in imports if isinstance(node, ast.alias))
