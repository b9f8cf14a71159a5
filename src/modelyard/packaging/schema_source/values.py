"""The value of an expression, worked out without running anything of the project: literals, names of literals, and
the arithmetic, containers and comprehensions that people write around them."""

from __future__ import annotations

import ast
import math
import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelyard.packaging.schema_source.modules import (
    Defined,
    External,
    Module,
    SchemaError,
    Unclear,
    is_enumeration,
)
from modelyard.packaging.schema_source.vocabulary import words

# Bounds of what is worked out, so that no source text can occupy the host: characters and items of a value, the same
# of what goes into one operation on text multiplied, bits of a number, steps in all.
MAX_ITEMS: Final = 100_000
MAX_PRODUCT: Final = 1_000_000
MAX_BITS: Final = 4096
MAX_STEPS: Final = 100_000

_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_UNARY: Final[dict[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}
_CONSTANTS: Final[dict[str, Any]] = {
    "math.pi": math.pi,
    "math.e": math.e,
    "math.tau": math.tau,
    "math.inf": math.inf,
    "sys.maxsize": sys.maxsize,
}
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "list": list,
    "tuple": tuple,
    "set": lambda items=(): list(dict.fromkeys(items)),
    "frozenset": lambda items=(): list(dict.fromkeys(items)),
    "dict": dict,
    "sorted": sorted,
    "reversed": lambda items: list(items)[::-1],
    "enumerate": lambda items, start=0: list(enumerate(items, start)),
    "zip": lambda *parts: list(zip(*parts, strict=False)),
    "range": lambda *bounds: _range(*bounds),
    "len": len,
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "round": round,
    "abs": abs,
    "min": min,
    "max": max,
    "sum": sum,
    "pathlib.Path": lambda *parts: _path(*parts),
    "pathlib.PurePath": lambda *parts: _path(*parts),
    "cog.Path": lambda *parts: _path(*parts),
    "os.path.join": lambda *parts: _path(*parts),
}
_METHODS: Final[dict[type, frozenset[str]]] = {
    dict: frozenset({"keys", "values", "items", "get", "copy"}),
    list: frozenset({"copy", "index", "count"}),
    tuple: frozenset({"index", "count"}),
    str: words(
        "capitalize endswith join lower lstrip removeprefix removesuffix replace rstrip split splitlines startswith"
        " strip title upper"
    ),
}


class Unresolved(Exception):
    """An expression whose value is known only by running it; `node` is the part that cannot be worked out."""

    def __init__(self, module: Module, node: ast.AST, reason: str = "") -> None:
        super().__init__(reason)
        self.module = module
        self.node = node
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Choice:
    """A member of an enumeration."""

    name: str
    value: Any


def evaluate(module: Module, node: ast.expr) -> Any:
    """The value of `node`, an expression in `module`: bools, numbers, strings, None, lists, tuples and dicts of them.

    Members of enumerations are their values, sets are lists in the order of the source. Raises Unresolved.
    """
    return _plain(Evaluator().value(module, node, {}))


def describe(error: Unresolved, *, subject: str) -> SchemaError:
    """The error that a person reads: `subject` is what was being worked out, as "parameter 'a': default"."""
    text, why = ast.unparse(error.node), f" ({error.reason})" if error.reason else ""
    shown = text if len(text) <= 80 else text[:77] + "..."
    said = f"`{shown}` cannot be statically resolved"
    if subject.endswith("choices expression"):  # here Cog's own words, for which scripts look, have nothing in between
        said = f"cannot be statically resolved: `{shown}`"
    return error.module.error(
        error.node,
        f"{subject} {said}{why}",
        hint="write the value itself, or a name that the file binds to it once, at its top level",
        runnable="always",
    )


class Evaluator:
    """One expression; counts its steps."""

    def __init__(self) -> None:
        self.steps = 0
        self.depth = 0

    def value(self, module: Module, node: ast.expr, local: Mapping[str, Any]) -> Any:
        """The value of `node`, where the names in `local` (of comprehensions) come first."""
        self.steps += 1
        self.depth += 1
        if self.steps > MAX_STEPS or self.depth > 150:
            raise Unresolved(module, node, "it takes too many steps")
        try:
            found = self._value(module, node, local)
            if weight(found) > MAX_ITEMS:
                raise Unresolved(module, node, "its value is too large")
            return found
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise Unresolved(module, node, f"{type(error).__name__}: {error}") from None
        finally:
            self.depth -= 1

    def _value(self, module: Module, node: ast.expr, local: Mapping[str, Any]) -> Any:
        match node:
            case ast.Constant(value=value) if value is not ... and not isinstance(value, bytes | complex):
                return value
            case ast.Name(id=name) if name in local:
                return local[name]
            case ast.Name() | ast.Attribute():
                return self._named(module, node, local)
            case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
                return self._items(module, node, items, local)
            case ast.Dict(keys=keys, values=values):
                return self._dict(module, keys, values, local)
            case ast.UnaryOp(op=op, operand=operand):
                return _UNARY[type(op)](self.value(module, operand, local))
            case ast.BinOp():
                return self._binary(module, node, local)
            case ast.BoolOp(op=joint, values=operands):
                return self._joined(module, joint, operands, local)
            case ast.Compare():
                return self._compare(module, node, local)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.value(module, body if self.value(module, test, local) else orelse, local)
            case ast.JoinedStr(values=parts):
                return "".join(self._formatted(module, part, local) for part in parts)
            case ast.Subscript(value=container, slice=place):
                return self.value(module, container, local)[self._place(module, place, local)]
            case ast.Call():
                return self._call(module, node, local)
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp() | ast.DictComp():
                return self._comprehension(module, node, local)
        raise Unresolved(module, node)

    def _named(self, module: Module, node: ast.Name | ast.Attribute, local: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Attribute) and (choice := self._enum_member(module, node)) is not None:
            return choice
        symbol = module.resolve(node)
        match symbol:
            case Unclear(reason=reason):
                raise Unresolved(module, node, reason)
            case Defined(module=home, node=ast.ClassDef() as cls):
                return enumeration(home, cls, node, self)
            case Defined(module=home, node=ast.expr() as inner):
                return self.value(home, inner, {})
            case External(name=name) if name in _CONSTANTS:
                return _CONSTANTS[name]
        if symbol is None and isinstance(node, ast.Attribute):
            found = self.value(module, node.value, local)
            if isinstance(found, Choice) and node.attr in ("name", "value"):
                return getattr(found, node.attr)
        raise Unresolved(module, node)

    def _enum_member(self, module: Module, node: ast.Attribute) -> Choice | None:
        owner = module.resolve(node.value)
        if not isinstance(owner, Defined) or not isinstance(owner.node, ast.ClassDef):
            return None
        if not is_enumeration(owner.module, owner.node):
            return None
        found = enumeration(owner.module, owner.node, node, self)
        return next((choice for choice in found if choice.name == node.attr), None)

    def _items(self, module: Module, node: ast.expr, items: list[ast.expr], local: Mapping[str, Any]) -> Any:
        found: list[Any] = []
        for item in items:
            if isinstance(item, ast.Starred):
                found.extend(self._iterable(module, item.value, local))
            else:
                found.append(self.value(module, item, local))
        if isinstance(node, ast.Set):
            return list(dict.fromkeys(found))
        return tuple(found) if isinstance(node, ast.Tuple) else found

    def _dict(
        self, module: Module, keys: list[ast.expr | None], values: list[ast.expr], local: Mapping[str, Any]
    ) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key, value in zip(keys, values, strict=True):
            if key is None:
                made |= self.value(module, value, local)
            else:
                made[_plain(self.value(module, key, local))] = self.value(module, value, local)
        return made

    def _binary(self, module: Module, node: ast.BinOp, local: Mapping[str, Any]) -> Any:
        a, b = self.value(module, node.left, local), self.value(module, node.right, local)
        operation = node.op
        if isinstance(operation, ast.Mod) and isinstance(a, str):
            raise Unresolved(module, node, "text with % is not worked out; use an f-string")
        if _too_large(operation, a, b) or type(operation) not in _BINARY:
            raise Unresolved(module, node, "its value is too large")
        return _BINARY[type(operation)](a, b)

    def _joined(self, module: Module, joint: ast.boolop, operands: list[ast.expr], local: Mapping[str, Any]) -> Any:
        value = None
        for operand in operands:
            value = self.value(module, operand, local)
            if bool(value) == isinstance(joint, ast.Or):
                break
        return value

    def _compare(self, module: Module, node: ast.Compare, local: Mapping[str, Any]) -> bool:
        left = self.value(module, node.left, local)
        for operation, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(module, operand, local)
            if not _COMPARE[type(operation)](left, right):
                return False
            left = right
        return True

    def _formatted(self, module: Module, part: ast.expr, local: Mapping[str, Any]) -> str:
        if not isinstance(part, ast.FormattedValue):
            return str(self.value(module, part, local))
        value = self.value(module, part.value, local)
        layout = "".join(self._formatted(module, inner, local) for inner in getattr(part.format_spec, "values", []))
        if len(layout) > 6 or isinstance(value, Choice):
            raise Unresolved(module, part)
        return format(_shown(value, part.conversion), layout)

    def _place(self, module: Module, place: ast.expr, local: Mapping[str, Any]) -> Any:
        if not isinstance(place, ast.Slice):
            return self.value(module, place, local)
        bounds = (place.lower, place.upper, place.step)
        return slice(*(None if bound is None else self.value(module, bound, local) for bound in bounds))

    def _iterable(self, module: Module, node: ast.expr, local: Mapping[str, Any]) -> list[Any]:
        found = self.value(module, node, local)
        if not isinstance(found, str | list | tuple | dict):
            raise Unresolved(module, node, "it is not a list")
        self.steps += len(found)
        return list(found)

    def _call(self, module: Module, node: ast.Call, local: Mapping[str, Any]) -> Any:
        function = self._function(module, node.func, local)
        if function is None or any(keyword.arg is None for keyword in node.keywords):
            raise Unresolved(module, node)
        arguments = [_listed(item) for item in self._items(module, node, node.args, local)]
        keywords = {str(keyword.arg): self.value(module, keyword.value, local) for keyword in node.keywords}
        owner = getattr(function, "__self__", None)
        if isinstance(owner, str) and math.prod(weight(value) + 1 for value in (owner, *arguments)) > MAX_PRODUCT:
            raise Unresolved(module, node, "its value is too large")
        return _listed(function(*arguments, **keywords))

    def _function(self, module: Module, node: ast.expr, local: Mapping[str, Any]) -> Callable[..., Any] | None:
        symbol = module.resolve(node) if not (isinstance(node, ast.Name) and node.id in local) else None
        if isinstance(symbol, External):
            return _FUNCTIONS.get(symbol.name.removeprefix("builtins."))
        if symbol is None and isinstance(node, ast.Name):
            return _FUNCTIONS.get(node.id)
        if symbol is None and isinstance(node, ast.Attribute):
            owner = self.value(module, node.value, local)
            if node.attr in _METHODS.get(type(owner), ()):
                return getattr(owner, node.attr)  # type: ignore[no-any-return]
        return None

    def _comprehension(
        self,
        module: Module,
        node: ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp,
        local: Mapping[str, Any],
    ) -> Any:
        scopes = [dict(local)]
        for loop in node.generators:
            if loop.is_async:
                raise Unresolved(module, node)
            scopes = [
                inner
                for outer in scopes
                for item in self._iterable(module, loop.iter, outer)
                if self._passes(module, loop, inner := {**outer, **_unpacked(module, loop.target, item)})
            ]
        if isinstance(node, ast.DictComp):
            return {self.value(module, node.key, s): self.value(module, node.value, s) for s in scopes}
        found = [self.value(module, node.elt, scope) for scope in scopes]
        return list(dict.fromkeys(found)) if isinstance(node, ast.SetComp) else found

    def _passes(self, module: Module, loop: ast.comprehension, local: Mapping[str, Any]) -> bool:
        return all(self.value(module, condition, local) for condition in loop.ifs)


def enumeration(module: Module, cls: ast.ClassDef, node: ast.expr, evaluator: Evaluator) -> list[Choice]:
    """The members of an enumeration in order. Raises Unresolved at `node` where the class is none."""
    if not is_enumeration(module, cls):
        raise Unresolved(module, node, "it is a class")
    found: dict[str, Any] = {}
    for statement in cls.body:
        pairs: list[Any] = []
        match statement:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=items)) if len(names) == len(items):
                pairs = list(zip(names, items, strict=True))
            case ast.Assign(targets=targets, value=value):
                pairs = [(target, value) for target in targets]
            case ast.AnnAssign() | ast.For() | ast.If():
                pairs = [(None, None)]
        for target, value in pairs:
            if not isinstance(target, ast.Name):
                raise Unresolved(module, node, "not every member is a name with a value")
            if not target.id.startswith("_"):
                found[target.id] = evaluator.value(module, value, found)
    return [Choice(name, value) for name, value in found.items()]


def _plain(value: Any) -> Any:
    if isinstance(value, Choice):
        return value.value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value


def weight(value: Any, budget: int = MAX_ITEMS) -> int:
    """The characters and items in a value; counting stops soon after `budget`."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, list | tuple | dict):
        return 0
    total = len(value)
    for item in value if not isinstance(value, dict) else [*value, *value.values()]:
        if total > budget:
            break
        total += weight(item, budget - total)
    return total


def _shown(value: Any, conversion: int) -> Any:
    """What `!s`, `!r` or `!a` makes of a value in an f-string."""
    match chr(conversion) if conversion > 0 else "":
        case "s":
            return str(value)
        case "r":
            return repr(value)
        case "a":
            return ascii(value)
    return value


def _unpacked(module: Module, target: ast.expr, item: Any) -> dict[str, Any]:
    match target:
        case ast.Name(id=name):
            return {name: item}
        case ast.Tuple(elts=targets) | ast.List(elts=targets):
            pairs = zip(targets, item, strict=True)
            return {name: value for inner, part in pairs for name, value in _unpacked(module, inner, part).items()}
    raise Unresolved(module, target)


def _listed(value: Any) -> Any:
    """Views of dicts and other one-way iterables as lists; a set has no order to rely on and becomes one too."""
    if isinstance(value, str | bytes | list | tuple | dict) or not isinstance(value, Iterable):
        return value
    return list(value)


def _too_large(operation: ast.operator, a: Any, b: Any) -> bool:
    match operation:
        case ast.Pow():
            whole = isinstance(a, int) and isinstance(b, int)
            return whole and (abs(b) > MAX_BITS or a.bit_length() * abs(b) > MAX_BITS)
        case ast.LShift():
            return isinstance(b, int) and b > MAX_BITS
        case ast.Mult():
            sizes = [x if isinstance(x, int) else len(x) for x in (a, b) if isinstance(x, int | str | list | tuple)]
            sequence = any(isinstance(x, str | list | tuple) for x in (a, b))
            return sequence and len(sizes) == 2 and sizes[0] * sizes[1] > MAX_ITEMS
        case ast.Add():
            return isinstance(a, str | list | tuple) and len(a) > MAX_ITEMS
    return isinstance(a, int) and a.bit_length() > MAX_BITS


def _range(*bounds: int) -> list[int]:
    made = range(*bounds)
    if len(made) > MAX_ITEMS:
        raise ValueError("too many numbers")
    return list(made)


def _path(*parts: str) -> str:
    return "/".join(part.rstrip("/") for part in parts[:-1]) + ("/" if len(parts) > 1 else "") + (parts or (".",))[-1]
