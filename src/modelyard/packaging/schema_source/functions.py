"""The function that a reference names: where it is, what it takes, what it returns and how it may be called."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from modelyard.packaging.schema_source import batching, modules, shapes, types, values
from modelyard.packaging.schema_source.modules import Defined, External, Module, Project, SchemaError, Unclear
from modelyard.packaging.schema_source.shapes import Field, Signature

Mode = Literal["predict", "train"]
Function = ast.FunctionDef | ast.AsyncFunctionDef

_METHODS: Final[dict[Mode, tuple[str, ...]]] = {"predict": ("run", "predict"), "train": ("train",)}
_INPUT: Final = (
    "default",
    "default_factory",
    "description",
    "ge",
    "le",
    "min_length",
    "max_length",
    "regex",
    "choices",
)
_KEYWORDS: Final = frozenset({*_INPUT, "deprecated", "accept"})
_FORMER_HINT: Final = (
    'with build.sdk_version "0.16.12" in cog.yaml the project has the rules of the Cogs that let this pass'
)
_NUMBERS: Final = ("ge", "le", "min_length", "max_length")
_TEXTS: Final = ("description", "regex", "accept")
_CONCURRENT_USAGE: Final = "@concurrent only supports literal integer max=... arguments"
_BATCH_USAGE: Final = "@batch only supports literal max_size=... and max_wait_ms=... arguments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A function or method in a file. `owner`: the class that the reference names, None for a function."""

    module: Module
    node: Function
    owner: ast.ClassDef | None = None

    @property
    def is_bound(self) -> bool:
        """Whether its first parameter is the model or its class."""
        static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in self.node.decorator_list)
        return self.owner is not None and not static


def find(project: Project, ref: str, mode: Mode) -> Target:
    """The function behind `run.py:Runner`: a method of that class, or the function itself.

    Without a name it is the class `Runner`, else `Predictor`, else a function of the mode's name. Raises SchemaError.
    """
    file, _, name = ref.partition(":")
    path = project.root / file
    if not file.endswith(".py") or not path.resolve().is_relative_to(project.root.resolve()):
        raise SchemaError(f"the reference {ref!r} must be a file of the project and a name in it, as 'run.py:Runner'")
    if not modules.is_file(path):
        raise SchemaError(f"{file} does not exist in {project.root}", hint="name a file of the project in cog.yaml")
    module = project.module(path)
    made = False
    for candidate in (name,) if name else ("Runner", "Predictor", *_METHODS[mode]):
        symbol = module.lookup(candidate)
        if isinstance(symbol, Defined) and isinstance(symbol.node, ast.ClassDef):
            return _method(symbol.module, symbol.node, mode)
        if isinstance(symbol, Defined) and isinstance(symbol.node, Function):
            return Target(module=symbol.module, node=symbol.node)
        if isinstance(symbol, Defined) and isinstance(symbol.node, ast.Name | ast.Attribute):
            followed = symbol.module.resolve(symbol.node)
            if isinstance(followed, Defined) and isinstance(followed.node, ast.ClassDef):
                return _method(followed.module, followed.node, mode)
        if isinstance(symbol, Unclear):
            raise module.error(symbol.node, symbol.reason, runnable="always")
        made = made or (isinstance(symbol, Defined) and isinstance(symbol.node, ast.Call))
    fallback = module.lookup(mode)
    if isinstance(fallback, Defined) and isinstance(fallback.node, Function):
        return Target(module=fallback.module, node=fallback.node)
    found = ", ".join(node.name for node in module.tree.body if isinstance(node, ast.ClassDef)) or "no class"
    raise SchemaError(
        f'class or function "{name or "Runner"}" not found in {file}; found: {found}',
        file=module.name,
        hint=f"define it, or name another one in cog.yaml ({'train' if mode == 'train' else 'run'}: {file}:NAME)",
        runnable="always" if made else "",
    )


def _method(module: Module, cls: ast.ClassDef, mode: Mode) -> Target:
    found = {}
    for name in _METHODS[mode]:
        symbol = modules.member(module, cls, name)
        if isinstance(symbol, Defined) and isinstance(symbol.node, Function):
            found[name] = Target(module=symbol.module, node=symbol.node, owner=cls)
    if len(found) == 2:
        raise module.error(cls, f"{cls.name} must define either run() or predict(), not both")
    for target in found.values():
        return target
    wanted = " or ".join(f"{name}()" for name in _METHODS[mode])
    hint = _foreign_base(module, cls)
    raise module.error(cls, f"{cls.name} must define {wanted}", hint=hint, runnable="always" if hint else "")


def _foreign_base(module: Module, cls: ast.ClassDef) -> str | None:
    for base in cls.bases:
        symbol = module.resolve(base)
        if isinstance(symbol, External) and not symbol.name.startswith("cog."):
            return f"what it may inherit from {ast.unparse(base)} cannot be read; define the method in this class"
    return None


# Inputs and output


def signature(target: Target) -> Signature:
    """The inputs in order and the output. Raises SchemaError where either cannot be read."""
    module, node = target.module, target.node
    batched = batch(target)
    fields = []
    for argument, default in _parameters(target):
        if argument.annotation is None:
            reason = f"parameter '{argument.arg}' on {node.name} has no type annotation"
            raise module.error(argument, reason, hint=f"say what it takes, as `{argument.arg}: str`")
        try:
            found = types.read(module, argument.annotation)
            found = found if batched is None else batching.input_of(found)
        except SchemaError as error:
            raise error.within(f"parameter '{argument.arg}'") from None
        except shapes.SchemaError as error:
            raise module.error(argument, f"parameter '{argument.arg}': {error}") from None
        fields.append(_field(module, argument, found, default))
    if node.returns is None:
        reason = f"{node.name} has no return type annotation"
        raise module.error(node, reason, hint=f"say what it returns, as `def {node.name}(...) -> str:`")
    made = Signature(fields=tuple(fields), output=_output(module, node.returns, batched), batch=batched)
    try:
        batching.check(made)
    except shapes.SchemaError as error:
        raise module.error(node, str(error)) from None
    return made


def _output(module: Module, returns: ast.expr, batched: shapes.Batch | None) -> shapes.Type:
    found = types.read(module, returns)
    try:
        found = found if batched is None else batching.output_of(found)
        shapes.check_output(found, former=module.project.former)
    except shapes.SchemaError as error:
        hint = _FORMER_HINT if found.optional or found.kind == "union" else None
        raise module.error(returns, str(error), hint=hint) from None
    return found


def _parameters(target: Target) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """The parameters that are inputs, each with its default."""
    arguments = target.node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = list(zip(positional, [*defaults, *arguments.defaults], strict=True))
    refused = [*arguments.posonlyargs, *([arguments.vararg] if arguments.vararg else [])]
    if target.is_bound:
        refused = [argument for argument in refused if not positional or argument is not positional[0]]
        pairs = pairs[1:]
    for argument in refused:
        reason = f"parameter '{argument.arg}': inputs are given by name; one that takes positions cannot be an input"
        raise target.module.error(argument, reason, hint=f"take it by name, as `{argument.arg}: list[str]`")
    yield from pairs
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _field(module: Module, argument: ast.arg, found: shapes.Type, default: ast.expr | None) -> Field:
    if default is None:
        return Field(name=argument.arg, type=found)
    described = described_input(module, default)
    facts = _values(module, argument.arg, default) if described is None else _facts(argument.arg, *described)
    try:
        made = Field(name=argument.arg, type=found, **facts)
        if module.project.former:
            made = shapes.as_former(made)
        shapes.check_input(made)
    except shapes.SchemaError as error:
        raise module.error(argument, str(error)) from None
    return made


def _values(module: Module, name: str, default: ast.expr) -> dict[str, Any]:
    value = _evaluated(module, default, f"parameter '{name}': default")
    return {"default": _json(module, default, name, value), "has_default": True}


def described_input(module: Module, node: ast.expr, depth: int = 0) -> tuple[Module, ast.Call] | None:
    """The call of `Input(...)` that `node` is or stands for: by name, as an attribute, or returned by a function."""
    if depth > 16:
        return None
    if isinstance(node, ast.Call):
        symbol = module.resolve(node.func)
        if symbol == External("cog.Input"):
            return module, node
        if isinstance(symbol, Defined) and isinstance(symbol.node, Function):
            for statement in symbol.node.body:
                if isinstance(statement, ast.Return) and statement.value is not None:
                    return described_input(symbol.module, statement.value, depth + 1)
        return None
    if isinstance(node, ast.Name | ast.Attribute):
        symbol = module.resolve(node)
        if isinstance(symbol, Defined) and isinstance(symbol.node, ast.Call):
            return described_input(symbol.module, symbol.node, depth + 1)
    return None


def _facts(name: str, module: Module, call: ast.Call) -> dict[str, Any]:
    """The keywords of `Input(...)`, worked out and checked."""
    given = _arguments(name, module, call)
    if "default_factory" in given:
        reason = f"parameter '{name}': default_factory is not supported in static schema generation"
        raise module.error(call, reason, hint="give the value itself: Input(default=[...])")
    facts: dict[str, Any] = {"has_default": "default" in given}
    for key, (node, value) in given.items():
        if key in _NUMBERS and value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise module.error(node, f"parameter '{name}': {key} must be a number, got {value!r}")
        if key in _TEXTS and value is not None and not isinstance(value, str):
            raise module.error(node, f"parameter '{name}': {key} must be a string, got {value!r}")
        if key == "choices" and value is not None:
            if not isinstance(value, list | tuple | dict):
                raise module.error(node, f"parameter '{name}': choices must be a list, got {value!r}")
            value = tuple(_json(module, node, name, list(value)))
        facts[key] = _json(module, node, name, value) if key == "default" else value
    facts["deprecated"] = bool(facts.get("deprecated"))
    return facts


def _arguments(name: str, module: Module, call: ast.Call) -> dict[str, tuple[ast.expr, Any]]:
    if len(call.args) > 1 or any(isinstance(argument, ast.Starred) for argument in call.args):
        raise module.error(call, f"parameter '{name}': Input() takes its default alone by position")
    given: dict[str, tuple[ast.expr, Any]] = {}
    for argument in call.args:
        if _is_ellipsis(argument):  # what older models write for an input without a default
            continue
        given["default"] = (argument, _evaluated(module, argument, f"parameter '{name}': default"))
    for keyword in call.keywords:
        if keyword.arg == "default" and _is_ellipsis(keyword.value):
            continue
        if keyword.arg == "default_factory":
            given["default_factory"] = (keyword.value, None)
            continue
        subject = f"parameter '{name}': {keyword.arg or '**'}{' expression' if keyword.arg == 'choices' else ''}"
        value = _evaluated(module, keyword.value, subject)
        pairs: Mapping[Any, Any] = value if keyword.arg is None and isinstance(value, dict) else {keyword.arg: value}
        for key, item in pairs.items():
            if key not in _KEYWORDS:
                raise module.error(keyword.value, f"parameter '{name}': Input() has no argument {key!r}")
            given[key] = (keyword.value, item)
    return given


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _evaluated(module: Module, node: ast.expr, subject: str) -> Any:
    try:
        return values.evaluate(module, node)
    except values.Unresolved as error:
        raise values.describe(error, subject=subject) from None


def _json(module: Module, node: ast.expr, name: str, value: Any) -> Any:
    try:
        return shapes.plain(value)
    except shapes.SchemaError as error:
        raise module.error(node, f"parameter '{name}': {error}") from None


# How it may be called


def is_streaming(target: Target) -> bool:
    """Whether `@streaming` marks it."""
    return any(_decorator(target, node) == "cog.streaming" for node in target.node.decorator_list)


def is_async(target: Target) -> bool:
    """Whether it is an `async def`."""
    return isinstance(target.node, ast.AsyncFunctionDef)


def concurrency(target: Target) -> int:
    """What `@concurrent(max=N)` says, or the places that `@batch` asks for; 1 without them.

    Raises SchemaError for an N that is no whole number from 1 up.
    """
    if (batched := batch(target)) is not None:
        return batched.slots
    for node in target.node.decorator_list:
        if _decorator(target, node) != "cog.concurrent":
            continue
        if not isinstance(node, ast.Call):
            return 1
        if node.args or any(keyword.arg != "max" for keyword in node.keywords):
            raise target.module.error(node, _CONCURRENT_USAGE)
        return _maximum(target, node.keywords[0].value) if node.keywords else 1
    return 1


def _maximum(target: Target, node: ast.expr) -> int:
    value = _literal(target, node, _CONCURRENT_USAGE)
    if isinstance(value, bool) or not isinstance(value, int):
        raise target.module.error(node, f"@concurrent max must be an integer literal, got {value!r}")
    if value < 1:
        raise target.module.error(node, f"@concurrent max must be at least 1, got {value}")
    if value > 1 and not is_async(target):
        raise target.module.error(node, "@concurrent(max > 1) requires an async run() or predict() method")
    return value


def batch(target: Target) -> shapes.Batch | None:
    """What `@batch(max_size=N, max_wait_ms=M)` says; None without it. Raises SchemaError, also for what excludes it."""
    marks = {_decorator(target, node): node for node in reversed(target.node.decorator_list)}
    node = marks.get("cog.batch")
    if node is None:
        return None
    for other, reason in (("cog.concurrent", batching.BESIDE_CONCURRENT), ("cog.streaming", batching.BESIDE_STREAMING)):
        if other in marks:
            raise target.module.error(node, reason, hint="take one of the two away")
    given = {"max_size": batching.DEFAULT_SIZE, "max_wait_ms": batching.DEFAULT_WAIT_MS}
    if isinstance(node, ast.Call):
        if node.args or any(keyword.arg not in given for keyword in node.keywords):
            raise target.module.error(node, _BATCH_USAGE)
        given |= {str(keyword.arg): _literal(target, keyword.value, _BATCH_USAGE) for keyword in node.keywords}
    try:
        return batching.make(**given)
    except shapes.SchemaError as error:
        raise target.module.error(node, str(error)) from None


def _literal(target: Target, node: ast.expr, otherwise: str) -> Any:
    try:
        return values.evaluate(target.module, node)
    except values.Unresolved:
        raise target.module.error(node, otherwise) from None


def _decorator(target: Target, node: ast.expr) -> str:
    symbol = target.module.resolve(node.func if isinstance(node, ast.Call) else node)
    return symbol.name if isinstance(symbol, External) else ""
