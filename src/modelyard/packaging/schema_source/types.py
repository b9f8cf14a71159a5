"""What the text of an annotation means: `Optional[Path]`, `list["Box"]`, the name of a model in another file."""

from __future__ import annotations

import ast
import dataclasses
from typing import Final

from modelyard.packaging.schema_source import shapes, values
from modelyard.packaging.schema_source.modules import (
    Defined,
    External,
    Inner,
    Module,
    SchemaError,
    Symbol,
    Unclear,
    is_enumeration,
)
from modelyard.packaging.schema_source.shapes import Member, Type

_PLAIN: Final[dict[str, Type]] = {
    "builtins.str": Type(kind="str"),
    "builtins.int": Type(kind="int"),
    "builtins.float": Type(kind="float"),
    "builtins.bool": Type(kind="bool"),
    "builtins.dict": Type(kind="dict"),
    "builtins.list": Type(kind="list"),
    "builtins.None": shapes.NONE,
    "builtins.Exception": shapes.ERROR,
    "builtins.tuple": Type(kind="list", container="tuple"),
    "builtins.set": Type(kind="list", container="set"),
    "builtins.frozenset": Type(kind="list", container="frozenset"),
    "typing.Any": shapes.ANY,
    "typing.Tuple": Type(kind="list", container="tuple"),
    "typing.Set": Type(kind="list", container="set"),
    "typing.AbstractSet": Type(kind="list", container="set"),
    "typing.FrozenSet": Type(kind="list", container="frozenset"),
    "typing.Sequence": Type(kind="list"),
    "typing.List": Type(kind="list"),
    "typing.Dict": Type(kind="dict"),
    "typing.Mapping": Type(kind="dict"),
    "typing.MutableMapping": Type(kind="dict"),
    "cog.Path": Type(kind="path"),
    "cog.File": Type(kind="file"),
    "cog.Secret": Type(kind="secret"),
    "pathlib.Path": Type(kind="path"),
    "pathlib.PosixPath": Type(kind="path"),
    "pathlib.PurePath": Type(kind="path"),
}
_LISTS: Final = frozenset({"builtins.list", "typing.List", "typing.Sequence"})
_MAPPINGS: Final = frozenset({"builtins.dict", "typing.Dict", "typing.Mapping", "typing.MutableMapping"})
_STREAMS: Final[dict[str, shapes.Kind]] = {
    "typing.Iterator": "iterator",
    "typing.AsyncIterator": "iterator",
    "typing.Generator": "iterator",
    "typing.AsyncGenerator": "iterator",
    "cog.ConcatenateIterator": "concatenate",
    "cog.AsyncConcatenateIterator": "concatenate",
}
_WRAPPERS: Final[dict[str, bool | None]] = {
    "typing.Required": True,
    "typing.NotRequired": False,
    "typing.ReadOnly": None,
}
_FIELDS: Final = frozenset({"pydantic.Field", "dataclasses.field"})
_SUPPORTED_HINT: Final = "use str, int, float, bool, Path, Secret, dict, a list of those, a BaseModel or a TypedDict"
_OPAQUE_HINT: Final = "mark it opaque: `Annotated[T, Opaque]`, with Opaque from cog, goes out as a JSON object"

Within = tuple[ast.AST, ...]


def read(module: Module, node: ast.expr, within: Within = ()) -> Type:
    """The type that `node`, an annotation in `module`, names; `within`: the models and aliases around it.

    Raises SchemaError that points at the part without a meaning here.
    """
    match node:
        case ast.Constant(value=None):
            return shapes.NONE
        case ast.Constant(value=str()):
            return read(module, parsed(module, node), within)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return shapes.union([read(module, left, within), read(module, right, within)])
        case ast.Subscript(value=base, slice=inner):
            return _generic(module, node, base, inner, within)
        case ast.Name() | ast.Attribute():
            return _named(module, node, within)
    raise _unsupported(module, node)


def parsed(module: Module, node: ast.expr) -> ast.expr:
    """An annotation that was written as text, as the expression in it, at the same place."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return node
    try:
        tree = ast.parse(node.value.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise module.error(node, f"unsupported type: '{node.value}' is no annotation") from None
    for inner in ast.walk(tree):
        ast.copy_location(inner, node)
    return tree


def _named(module: Module, node: ast.expr, within: Within) -> Type:
    symbol = module.resolve(node)
    match symbol:
        case External(name=name) if name in _PLAIN:
            return _PLAIN[name]
        case External(name=name) if name in _STREAMS:
            return Type(kind=_STREAMS[name], name=name.rpartition(".")[2])
        case Defined(module=home, node=ast.ClassDef() as cls):
            return _class(module, node, home, cls, within)
        case Defined(module=home, node=ast.Call() as call):
            return _made(module, node, home, call, within)
        case Defined(module=home, node=ast.expr() as alias) if alias not in within:
            return read(home, alias, (*within, alias))
    raise _unknown(module, node, symbol)


def _generic(module: Module, node: ast.Subscript, base: ast.expr, inner: ast.expr, within: Within) -> Type:
    symbol = module.resolve(base)
    name = symbol.name if isinstance(symbol, External) else ""
    arguments = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
    if name == "typing.Optional":
        return shapes.union([shapes.NONE, read(module, inner, within)])
    if name == "typing.Union":
        return shapes.union([read(module, member, within) for member in arguments])
    if name == "typing.Literal":
        return _literal(module, node, arguments)
    if name == "typing.Annotated":
        if any(module.resolve(extra) == External("cog.Opaque") for extra in arguments[1:] if _is_name(extra)):
            return _opaque(module, arguments[0])
        return read(module, arguments[0], within)
    if name in _LISTS:
        return Type(kind="list", item=read(module, inner, within))
    if name in _PLAIN and _PLAIN[name].container:
        parts = [part for part in arguments if not (isinstance(part, ast.Constant) and part.value is ...)]
        items = [read(module, part, within) for part in parts]
        return shapes.contained(_PLAIN[name].container, items, any_length=len(items) == 1)
    if name in _MAPPINGS:
        return Type(kind="dict", item=read(module, arguments[1], within) if len(arguments) == 2 else None)
    if name in _STREAMS:
        return Type(kind=_STREAMS[name], item=read(module, arguments[0], within), name=ast.unparse(node))
    if not isinstance(symbol, External) or name.startswith(("builtins.", "typing.")):
        raise _unsupported(module, node)
    raise _unknown(module, base, symbol)


def _is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Attribute)


def _literal(module: Module, node: ast.expr, arguments: list[ast.expr]) -> Type:
    try:
        return shapes.literal(tuple(values.evaluate(module, argument) for argument in arguments))
    except values.Unresolved as error:
        raise values.describe(error, subject="Literal") from None
    except shapes.SchemaError as error:
        raise module.error(node, str(error)) from None


def _opaque(module: Module, node: ast.expr) -> Type:
    """The container alone counts; what is in it is never looked at, and may come from anywhere."""
    node = parsed(module, node)
    match node:
        case ast.Constant(value=None):
            return shapes.NONE
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return shapes.opaque(shapes.union([_opaque(module, left), _opaque(module, right)]))
        case ast.Subscript(value=base, slice=inner):
            name = getattr(module.resolve(base), "name", "") if _is_name(base) else ""
            if name in ("typing.Optional", "typing.Union"):
                members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                extra = [shapes.NONE] if name == "typing.Optional" else []
                return shapes.opaque(shapes.union([_opaque(module, member) for member in members] + extra))
            return shapes.opaque(Type(kind="list") if name in _LISTS else shapes.ANY)
        case ast.Name() | ast.Attribute() if getattr(module.resolve(node), "name", "") in _LISTS:
            return shapes.opaque(Type(kind="list"))
    return shapes.ANY


# Models


def _class(module: Module, node: ast.expr, home: Module, cls: ast.ClassDef, within: Within) -> Type:
    family = _family(home, cls)
    if family == "path":
        return Type(kind="path")
    if family in ("model", "pydantic"):
        return Type(kind="model", name=cls.name, fields=_fields(home, cls, family, within))
    if family == "typeddict":
        return Type(kind="typeddict", name=cls.name, fields=_fields(home, cls, family, within))
    if is_enumeration(home, cls):
        return _enumeration(module, node, home, cls)
    foreign = any(isinstance(home.resolve(base), External) for base in cls.bases if _is_name(base))
    raise module.error(
        node,
        f"unsupported type: {cls.name} is no BaseModel, TypedDict, dataclass or enumeration",
        hint=_OPAQUE_HINT,
        runnable="former" if foreign else "",
    )


def _enumeration(module: Module, node: ast.expr, home: Module, cls: ast.ClassDef) -> Type:
    try:
        found = [choice.value for choice in values.enumeration(home, cls, node, values.Evaluator())]
        values_of = shapes.literal(tuple(dict.fromkeys(found)), f"the enumeration {cls.name}")
        return dataclasses.replace(values_of, name=cls.name)
    except values.Unresolved as error:
        raise values.describe(error, subject=f"unsupported type: {cls.name}: its value") from None
    except (shapes.SchemaError, TypeError) as error:
        raise module.error(node, str(error), hint="use str or int with choices=[...]") from None


def _family(home: Module, cls: ast.ClassDef, depth: int = 0) -> str:
    """What a class is through its bases or its decorator; "" for a plain one."""
    for decorator in cls.decorator_list:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if _is_name(target) and home.resolve(target) == External("dataclasses.dataclass"):
            return "model"
    for base in cls.bases if depth < 16 else []:
        symbol = home.resolve(base.value if isinstance(base, ast.Subscript) else base)
        found = ""
        if isinstance(symbol, External):
            found = {"typing.TypedDict": "typeddict", "cog.BaseModel": "model", "pydantic.BaseModel": "pydantic"}.get(
                symbol.name, "path" if _PLAIN.get(symbol.name) == Type(kind="path") else ""
            )
        elif isinstance(symbol, Defined) and isinstance(symbol.node, ast.ClassDef):
            found = _family(symbol.module, symbol.node, depth + 1)
        if found:
            return found
    return ""


def _fields(home: Module, cls: ast.ClassDef, family: str, within: Within) -> tuple[Member, ...]:
    if cls in within:
        return ()
    found: dict[str, Member] = {}
    for base in reversed(cls.bases):
        symbol = home.resolve(base.value if isinstance(base, ast.Subscript) else base)
        if isinstance(symbol, Defined) and isinstance(symbol.node, ast.ClassDef):
            found |= {f.name: f for f in _fields(symbol.module, symbol.node, family, (*within, cls))}
    total = not any(k.arg == "total" and _is_false(k.value) for k in cls.keywords)
    for statement in cls.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                if _is_field(home, family, name, annotation):
                    required = total and not _has_default(home, value)
                    found[name] = _member(home, name, annotation, required, (*within, cls))
    return tuple(found.values())


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _is_field(home: Module, family: str, name: str, annotation: ast.expr) -> bool:
    outer = parsed(home, annotation)
    base = outer.value if isinstance(outer, ast.Subscript) else outer
    symbol = home.resolve(base) if _is_name(base) else None
    if symbol in (External("typing.ClassVar"), External("dataclasses.InitVar")):
        return False
    return not (family == "pydantic" and name.startswith("_"))


def _has_default(home: Module, value: ast.expr | None) -> bool:
    if not isinstance(value, ast.Call) or not _is_name(value.func):
        return value is not None
    symbol = home.resolve(value.func)
    if not (isinstance(symbol, External) and symbol.name in _FIELDS):
        return True
    given = [*value.args[:1], *(k.value for k in value.keywords if k.arg in ("default", "default_factory"))]
    return any(not (isinstance(node, ast.Constant) and node.value is ...) for node in given)


def _member(home: Module, name: str, annotation: ast.expr, required: bool, within: Within) -> Member:
    node = parsed(home, annotation)
    while isinstance(node, ast.Subscript) and _is_name(node.value):
        symbol = home.resolve(node.value)
        if not isinstance(symbol, External) or symbol.name not in _WRAPPERS:
            break
        said = _WRAPPERS[symbol.name]
        required = required if said is None else said
        node = parsed(home, node.slice)
    try:
        return Member(name=name, type=read(home, node, within), required=required)
    except SchemaError as error:
        raise error.within(f'field "{name}"') from None


def _made(module: Module, node: ast.expr, home: Module, call: ast.Call, within: Within) -> Type:
    """What a call makes that is a type: `TypedDict("T", {...})`, `NewType("T", str)`."""
    symbol = home.resolve(call.func) if _is_name(call.func) else None
    match symbol, call.args:
        case External(name="typing.NewType"), [_, inner]:
            return read(home, inner, within)
        case External(name="typing.TypedDict"), [ast.Constant(value=name), ast.Dict(keys=keys, values=hints)]:
            total = not any(k.arg == "total" and _is_false(k.value) for k in call.keywords)
            members = [
                _member(home, str(key.value), hint, total, (*within, call))
                for key, hint in zip(keys, hints, strict=True)
                if isinstance(key, ast.Constant)
            ]
            return Type(kind="typeddict", name=str(name), fields=() if call in within else tuple(members))
    raise _unsupported(module, node)


# Errors


def _unsupported(module: Module, node: ast.expr) -> SchemaError:
    name = ast.unparse(node)
    hint = "use a Path: its file holds the bytes" if name in ("bytes", "bytearray") else _SUPPORTED_HINT
    return module.error(node, f"unsupported type: {name}", hint=hint)


def _unknown(module: Module, node: ast.expr, symbol: Symbol | None) -> SchemaError:
    name = ast.unparse(node)
    match symbol:
        case Unclear(reason=reason):
            said = f"cannot resolve type '{name}': {reason}"
            return module.error(node, said, hint="bind the name once", runnable="always")
        case External(name=dotted):
            place, _, short = dotted.rpartition(".")
            if place == "builtins" or (place == "typing" and short not in ("List", "Dict")):
                return _unsupported(module, node)
            return module.error(
                node,
                f"cannot resolve type '{name}' (imported from '{place or dotted}')"
                " - external types cannot be statically analyzed."
                " If this is a JSON-shaped third-party type, mark it opaque with Annotated[T, Opaque]",
                hint=_OPAQUE_HINT,
                runnable="former",
            )
        case Inner() | Defined():
            return module.error(node, f"unsupported type: {name} is not a type")
    return module.error(
        node,
        f"cannot resolve type '{name}' - it is not a primitive type (str, int, float, bool, Path)"
        " and no BaseModel definition was found in the predict file: nothing of that name is defined in it",
        hint="import it, or define it at the top level of the file",
    )
