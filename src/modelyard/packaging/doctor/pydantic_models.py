"""Models of pydantic's that only ask it to let every type pass: Cog's own `BaseModel` does that by itself."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelyard.packaging.doctor.case import Case
from modelyard.packaging.doctor.edits import Edits, Placed, bound
from modelyard.packaging.doctor.findings import CannotMend, Finding
from modelyard.packaging.schema_source.modules import Defined, External, Module

_FLAG: Final = "arbitrary_types_allowed"
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
            message=f"{found.cls.name} inherits from pydantic.BaseModel with {_FLAG}; use cog.BaseModel instead",
            file=module.name,
            line=found.cls.lineno,
            remedy=f"Import BaseModel from cog, derive {found.cls.name} from it and remove {_FLAG}",
        )
        for module in case.modules.values()
        for found in _classes(module)
    ]


def mend(case: Case) -> dict[Path, bytes]:
    """Those classes get Cog's model as their base, and the flag goes; other classes of pydantic stay."""
    return {module.path: _rewritten(module) for module in case.modules.values() if any(_classes(module))}


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
        if keyword.arg == _FLAG and _is_true(keyword.value):
            heads: list[ast.expr | ast.keyword] = [*cls.bases, *cls.keywords]
            pairs: list[tuple[Placed, Placed]] = [(head, head) for head in heads]
            return _Found(cls=cls, base=base, whole=None, body=cls.body, items=pairs, place=heads.index(keyword))
    for statement in cls.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="model_config")], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Name(id="model_config"), value=ast.expr() as value)
            ):
                names, items = _settings(module, value)
                if _FLAG in names:
                    place = names.index(_FLAG)
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
            return name == _FLAG and _is_true(value)
    return False


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_pydantic(module: Module, node: ast.expr, name: str) -> bool:
    symbol = module.resolve(node)
    return isinstance(symbol, External) and symbol.name in (f"pydantic.{name}", f"pydantic.config.{name}")


# How it is mended


def _rewritten(module: Module) -> bytes:
    edits = Edits(module)
    left = Counter(_names(module.tree))
    for found in _classes(module):
        _check_plain(module, found)
        left -= Counter(_names(found.base))
        left -= _drop_flag(edits, found)
    name = _our_model(module, edits, left)
    for found in _classes(module):
        edits.replace(found.base, name)
    for node in module.tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            gone = {bound(alias) for alias in node.names if _is_unneeded(node, alias, left)}
            if gone:
                edits.drop_imported(node, gone)
    return edits.result()


def _check_plain(module: Module, found: _Found) -> None:
    """A class that uses more of pydantic would not do what it does without it."""
    for node in ast.walk(found.cls):
        if node is found.base or not isinstance(node, ast.Name | ast.Attribute):
            continue
        symbol = module.resolve(node)
        if isinstance(symbol, External) and symbol.name.startswith("pydantic."):
            name = symbol.name.rpartition(".")[2]
            if name not in ("BaseModel", "ConfigDict", "config"):
                raise CannotMend(f"Manual migration required: {found.cls.name} uses {name} of pydantic")


def _drop_flag(edits: Edits, found: _Found) -> Counter[str]:
    """Take the flag away, and all around it that holds nothing else; the names that go with it."""
    if len(found.items) > 1:
        edits.drop_items(found.items, {found.place})
        return Counter()
    assert found.whole is not None  # noqa: S101 - a class's own line also names its base
    edits.drop_statements(found.body, [found.whole])
    return Counter(_names(found.whole))


def _our_model(module: Module, edits: Edits, left: Counter[str]) -> str:
    """What Cog's model is called in this file; it is imported where it is not yet."""
    imports = [node for node in module.tree.body if isinstance(node, ast.ImportFrom) and not node.level]
    ours = [node for node in imports if node.module == "cog" and node.names[0].name != "*"]
    for node in ours:
        for alias in node.names:
            if alias.name == _OURS:
                return bound(alias)
    taken = bool(left[_OURS]) or isinstance(module.lookup(_OURS), Defined)
    taken = taken or any(
        bound(alias) == _OURS and not _is_unneeded(node, alias, left) for node in imports for alias in node.names
    )
    name = _OURS_BESIDE if taken else _OURS
    text = f"{_OURS} as {name}" if taken else _OURS
    if ours:
        edits.add_imported(ours[0], text)
    else:
        edits.add_line_before(_first_import(module), f"from cog import {text}")
    return name


def _first_import(module: Module) -> ast.stmt:
    for node in module.tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
            return node
    raise CannotMend(f"Manual migration required: {module.name} imports pydantic in an unusual way")


def _is_unneeded(node: ast.Import | ast.ImportFrom, alias: ast.alias, left: Counter[str]) -> bool:
    if left[bound(alias)]:
        return False
    if isinstance(node, ast.Import):
        return alias.name == "pydantic"
    return node.module in ("pydantic", "pydantic.main", "pydantic.config") and alias.name in ("BaseModel", "ConfigDict")


def _names(node: ast.AST) -> Iterator[str]:
    return (inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))
