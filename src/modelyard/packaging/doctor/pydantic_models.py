"""Models of pydantic's that only ask it to let every type pass: Cog's own `BaseModel` does that by itself."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.packaging.doctor import pydantic_checks, uses
from modelyard.packaging.doctor.case import Case
from modelyard.packaging.doctor.edits import Edits, Placed, bindings, bound, names, texts
from modelyard.packaging.doctor.findings import CannotMend, Finding
from modelyard.packaging.doctor.pydantic_checks import FLAG
from modelyard.packaging.schema_source.modules import External, Module

_OURS: Final = "BaseModel"
_OURS_BESIDE: Final = "CogBaseModel"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A class, its base, and where the flag stands.

    Either it is number `place` of `items` (each from one node to another), the settings that `whole` holds alone; or
    `items` is empty and it is the whole of `whole`. `whole` is a statement of `body`; None is the class's own line.
    """

    cls: ast.ClassDef
    base: ast.expr
    whole: ast.stmt | None
    body: list[ast.stmt]
    items: Sequence[tuple[Placed, Placed]] = ()
    place: int = 0


def look(case: Case) -> list[Finding] | None:
    """python-pydantic-basemodel: no class takes pydantic's model only to switch its checks off."""
    if not case.modules:
        return None
    return [
        Finding(
            severity="error",
            message=f"{found.cls.name} inherits from pydantic.BaseModel with {FLAG}; use cog.BaseModel instead",
            file=module.name,
            line=found.cls.lineno,
            remedy=f"Import BaseModel from cog, derive {found.cls.name} from it and remove {FLAG}",
        )
        for module in case.modules.values()
        for found in _classes(module)
    ]


def mend(case: Case) -> dict[Path, bytes]:
    """Those classes get Cog's model as their base, and the flag goes; other classes of pydantic stay."""
    uses.check_readable(case)
    found = [(module, each) for module in case.modules.values() for each in _classes(module)]
    for module, each in found:
        pydantic_checks.check_class(module, each.cls, each.base, _gone(each))
    kept = [each.cls for _, each in found if _keeps_settings(each)]
    pydantic_checks.check_users(case, [each.cls for _, each in found], kept)
    return {module.path: _rewritten(case, module) for module in dict.fromkeys(module for module, _ in found)}


# What is looked for


def _classes(module: Module) -> Iterator[_Found]:
    for cls in ast.walk(module.tree):
        if isinstance(cls, ast.ClassDef):
            base = next((each for each in cls.bases if _is_pydantic(module, each, "BaseModel")), None)
            found = None if base is None else _flag(module, cls, base)
            if found is not None:
                yield found


def _flag(module: Module, cls: ast.ClassDef, base: ast.expr) -> _Found | None:
    """Where a class sets the flag: in its own line, in `model_config`, or in a class `Config`."""
    for keyword in cls.keywords:
        if keyword.arg == FLAG and _is_true(keyword.value):
            heads: list[ast.expr | ast.keyword] = [*cls.bases, *cls.keywords]
            pairs: list[tuple[Placed, Placed]] = [(head, head) for head in heads]
            return _Found(cls=cls, base=base, whole=None, body=cls.body, items=pairs, place=heads.index(keyword))
    for statement in cls.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="model_config")], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Name(id="model_config"), value=ast.expr() as value)
            ):
                said, items = _settings(module, value)
                if FLAG in said:
                    place = said.index(FLAG)
                    return _Found(cls=cls, base=base, whole=statement, body=cls.body, items=items, place=place)
            case ast.ClassDef(name="Config", body=body):
                inner = next((each for each in body if _sets_flag(each)), None)
                if inner is not None and len(body) > 1:
                    return _Found(cls=cls, base=base, whole=inner, body=body)
                if inner is not None:
                    return _Found(cls=cls, base=base, whole=statement, body=cls.body)
    return None


def _settings(module: Module, value: ast.expr) -> tuple[list[str], list[tuple[Placed, Placed]]]:
    """What `ConfigDict(a=1)` or `{"a": 1}` sets to something that is not false."""
    match value:
        case ast.Call(func=function, args=[], keywords=keywords) if _is_pydantic(module, function, "ConfigDict"):
            named = [str(keyword.arg) if _is_true(keyword.value) else "" for keyword in keywords]
            return named, [(keyword, keyword) for keyword in keywords]
        case ast.Dict(keys=keys, values=values):
            pairs = [(key, each) for key, each in zip(keys, values, strict=True) if key is not None]
            if len(pairs) == len(keys):
                texts = [key.value if isinstance(key, ast.Constant) and _is_true(each) else "" for key, each in pairs]
                return [str(text) for text in texts], list(pairs)
    return [], []


def _sets_flag(node: ast.stmt) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name == FLAG and _is_true(value)
    return False


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_pydantic(module: Module, node: ast.expr, name: str) -> bool:
    symbol = module.resolve(node)
    return isinstance(symbol, External) and symbol.name in (f"pydantic.{name}", f"pydantic.config.{name}")


# How it is mended


def _rewritten(case: Case, module: Module) -> bytes:
    edits = Edits(module)
    found = list(_classes(module))
    source = _source(module, found)
    left = Counter(names(module.tree))
    for each in found:
        left -= Counter(names(each.base))
        left -= _drop_flag(edits, each)
    name = _our_model(module, edits, left, above=source)
    for each in found:
        edits.replace(each.base, name)
    lost: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            gone = {bound(alias) for alias in node.names if _is_unneeded(node, alias, left)}
            if gone:
                edits.drop_imported(node, gone)
            lost |= gone
    user = uses.elsewhere(case, module, lost) if lost else None
    if user is not None:
        raise CannotMend(f"Manual migration required: {user} takes what {module.name} has of pydantic")
    if any(text in lost for _, text in texts(module.tree)):
        raise CannotMend(f"Manual migration required: {module.name} names what it has of pydantic in a text")
    return edits.result()


def _gone(found: _Found) -> ast.stmt | None:
    """The statement that goes with the flag; None where other settings keep it, or it has none."""
    return found.whole if found.body is found.cls.body and len(found.items) <= 1 else None


def _keeps_settings(found: _Found) -> bool:
    """Whether settings for pydantic stay: the class then is pydantic's at run time."""
    return any(
        isinstance(each, ast.Name) and each.id == "model_config"
        for statement in found.cls.body
        if statement is not _gone(found)
        for each in ast.walk(statement)
    )


def _source(module: Module, found: Sequence[_Found]) -> int:
    """The line that the new import has to stand above: that of the first class, which pydantic's is above as well."""
    first = min(each.cls.lineno for each in found)
    cannot = CannotMend(f"Manual migration required: {module.name} imports pydantic in an unusual way")
    plain = {
        bound(alias): alias
        for node in module.tree.body
        if node.lineno < first and isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0)
        for alias in node.names
        if (alias.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0] == "pydantic"
    }
    if any(alias.name == "*" for alias in ast.walk(module.tree) if isinstance(alias, ast.alias)):
        raise cannot
    for each in found:
        root = each.base
        while isinstance(root, ast.Attribute):
            root = root.value
        name = root.id if isinstance(root, ast.Name) else ""
        if name not in plain or any(node is not plain[name] for node in bindings(module.tree, name)):
            raise cannot
    return first


def _drop_flag(edits: Edits, found: _Found) -> Counter[str]:
    """Take the flag away, and all around it that holds nothing else; the names that go with it."""
    if len(found.items) > 1:
        edits.drop_items(found.items, {found.place})
        return Counter()
    assert found.whole is not None  # noqa: S101 - a class's own line also names its base
    edits.drop_statements(found.body, [found.whole])
    return Counter(names(found.whole))


def _our_model(module: Module, edits: Edits, left: Counter[str], *, above: int) -> str:
    """What Cog's model is called in this file; it is imported where it is not yet, above a line."""
    imports = [node for node in module.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [node for node in imports if isinstance(node, ast.ImportFrom) and node.module == "cog" and not node.level]
    for node in ours:
        for alias in node.names:
            if alias.name == _OURS and node.lineno < above:
                _check_free(module, bound(alias), {alias, *_unneeded(imports, left)})
                return bound(alias)
    taken = bool(left[_OURS]) or any(set(bindings(module.tree, _OURS)) - _unneeded(imports, left))
    name = _OURS_BESIDE if taken else _OURS
    text = f"{_OURS} as {name}" if taken else _OURS
    _check_free(module, name, _unneeded(imports, left))
    if ours and ours[0].lineno < above:
        edits.add_imported(ours[0], text)
    else:
        edits.add_line_before(_first_import(module), f"from cog import {text}")
    return name


def _check_free(module: Module, name: str, known: set[ast.AST]) -> None:
    if set(bindings(module.tree, name)) - known:
        raise CannotMend(f"Manual migration required: {module.name} has something else called {name}")


def _first_import(module: Module) -> ast.stmt:
    """There is one, as pydantic's is."""
    return next(
        node
        for node in module.tree.body
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__"
    )


def _unneeded(imports: Sequence[ast.Import | ast.ImportFrom], left: Counter[str]) -> set[ast.AST]:
    return {alias for node in imports for alias in node.names if _is_unneeded(node, alias, left)}


def _is_unneeded(node: ast.Import | ast.ImportFrom, alias: ast.alias, left: Counter[str]) -> bool:
    if left[bound(alias)]:
        return False
    if isinstance(node, ast.Import):
        return alias.name == "pydantic"
    return node.module in ("pydantic", "pydantic.main", "pydantic.config") and alias.name in ("BaseModel", "ConfigDict")
