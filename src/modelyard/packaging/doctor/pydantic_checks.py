"""What a model of pydantic's must not have for Cog's `BaseModel`, a dataclass, to take its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from modelyard.packaging.doctor.case import Case
from modelyard.packaging.doctor.edits import bound
from modelyard.packaging.doctor.findings import CannotMend
from modelyard.packaging.schema_source.modules import Defined, External, Module, is_enumeration
from modelyard.packaging.schema_source.vocabulary import words

FLAG: Final = "arbitrary_types_allowed"
# What pydantic's models have of either version and Cog's have not.
_API: Final = words(
    "model_validate model_validate_json model_validate_strings model_dump_json model_construct model_fields"
    " model_computed_fields model_fields_set model_extra model_json_schema model_parametrized_name model_post_init"
    " model_rebuild model_config json parse_obj parse_raw parse_file construct from_orm schema schema_json validate"
    " update_forward_refs __fields__ __fields_set__ __pydantic_fields__ __config__"
)
# What Cog's models answer as well, with the keywords that they take.
_ANSWERED: Final = {"dict": (), "model_dump": (), "copy": ("update",), "model_copy": ("update",)}
# Functions that a class may be given to.
_ASKING: Final = words("isinstance issubclass cast print repr str")
# Methods by which a class is made or read in another way than a dataclass is.
_SPECIAL: Final = words(
    "__init__ __new__ __post_init__ __init_subclass__ __class_getitem__ __getattr__ __getattribute__ __setattr__"
)
# Bases of classes that look at no annotation of theirs.
_PLAIN_BASES: Final = words(
    "cog.BasePredictor cog.BaseRunner builtins.object abc.ABC typing.Generic typing.NamedTuple typing.TypedDict"
    " typing.Protocol"
)


def _refuse(module: Module, node: ast.AST, reason: str) -> CannotMend:
    return CannotMend(f"Manual migration required: {module.name}:{getattr(node, 'lineno', 1)}: {reason}")


# The class


def check_class(module: Module, cls: ast.ClassDef, base: ast.expr, gone: ast.stmt | None) -> None:
    """Refuse a class that would not do, or not be made, without pydantic; `gone`: its statement that goes."""
    _check_names(module, cls, base)
    if cls.bases != [base] or cls.decorator_list or any(keyword.arg != FLAG for keyword in cls.keywords):
        raise _refuse(module, cls, f"{cls.name} has other bases, keywords or decorators beside pydantic's BaseModel")
    defaults = False
    for statement in cls.body:
        match statement:
            case _ if statement is gone:
                pass
            case ast.Assign(targets=[ast.Name(id="model_config")]) | ast.AnnAssign(target=ast.Name(id="model_config")):
                pass
            case ast.AnnAssign(target=ast.Name(), annotation=annotation) if _is_class_variable(module, annotation):
                pass
            case ast.AnnAssign(target=ast.Name(id=field), value=value):
                if field.startswith("_"):
                    raise _refuse(module, statement, f"{cls.name}.{field} is private in pydantic")
                if value is None and defaults:
                    raise _refuse(module, statement, f"{cls.name}.{field} has no default, but one before it has")
                if value is not None and not _is_constant(module, value):
                    raise _refuse(module, statement, f"the default of {cls.name}.{field} is no plain value")
                defaults = defaults or value is not None
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if name in _API or name in _SPECIAL or name == "Config" or name.startswith("__get_pydantic"):
                    raise _refuse(module, statement, f"{cls.name} has {name}, which means something to pydantic")
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                pass
            case _:
                raise _refuse(module, statement, f"{cls.name} has more in its body than fields and methods")


def _check_names(module: Module, cls: ast.ClassDef, base: ast.expr) -> None:
    for node in ast.walk(cls):
        if node is base or not isinstance(node, ast.Name | ast.Attribute):
            continue
        symbol = module.resolve(node)
        if isinstance(symbol, External) and symbol.name.startswith("pydantic."):
            name = symbol.name.rpartition(".")[2]
            if name not in ("BaseModel", "ConfigDict", "config"):
                raise CannotMend(f"Manual migration required: {cls.name} uses {name} of pydantic")
        if isinstance(node, ast.Name) and node.id == "super":
            raise _refuse(module, node, f"{cls.name} calls a method of pydantic's BaseModel")


def _is_class_variable(module: Module, annotation: ast.expr) -> bool:
    node = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return module.resolve(node) == External("typing.ClassVar")


def _is_constant(module: Module, node: ast.expr) -> bool:
    """Whether a default is a value that a dataclass takes: one that cannot change."""
    match node:
        case ast.Constant():
            return True
        case ast.UnaryOp(operand=operand):
            return _is_constant(module, operand)
        case ast.Tuple(elts=parts):
            return all(_is_constant(module, part) for part in parts)
        case ast.Attribute(value=owner) if _is_enumeration(module, owner):
            return True
        case ast.Name() | ast.Attribute():
            symbol = module.resolve(node)
            return isinstance(symbol, Defined) and isinstance(symbol.node, ast.Constant)
    return False


def _is_enumeration(module: Module, node: ast.expr) -> bool:
    symbol = module.resolve(node)
    if not isinstance(symbol, Defined) or not isinstance(symbol.node, ast.ClassDef):
        return False
    return is_enumeration(symbol.module, symbol.node)


# Its users


def check_users(case: Case, classes: Collection[ast.ClassDef], kept: Collection[ast.ClassDef]) -> None:
    """Refuse where the files of the model rely on pydantic's part in the classes.

    `kept`: those of the classes that stay pydantic's at run time, for the settings that they have.
    """
    fields = _fields(case, classes)
    names = _closure(case, set(fields))
    for module in case.modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                _check_other_class(module, node, names, is_ours=node in classes, is_kept=node in kept)
            elif isinstance(node, ast.Call):
                _check_call(module, node, fields)
                if getattr(node.func, "id", "") not in _ASKING:
                    _check_handed_on(module, [*node.args, *(keyword.value for keyword in node.keywords)], fields)
            elif isinstance(node, ast.List | ast.Set):
                _check_handed_on(module, node.elts, fields)
            elif isinstance(node, ast.Dict):
                _check_handed_on(module, node.values, fields)
            elif isinstance(node, ast.Attribute) and node.attr in _API and not _is_foreign(module, node.value):
                raise _refuse(module, node, f".{node.attr} may be pydantic's")
            for user in _pydantic_users(module, node):
                if _mentions(user, names):
                    raise _refuse(module, node, "pydantic is given a class that would no longer be its own")


def _fields(case: Case, classes: Collection[ast.ClassDef]) -> dict[str, set[str]]:
    """What each class takes, by the names that it has in the files."""
    found: dict[str, set[str]] = {}
    for cls in classes:
        taken = {
            each.target.id for each in cls.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        }
        aliases = (node for module in case.modules.values() for node in ast.walk(module.tree))
        called = {bound(node) for node in aliases if isinstance(node, ast.alias) and node.name == cls.name}
        for name in {cls.name, *called}:
            found[name] = found[name] & taken if name in found else taken
    return found


def _closure(case: Case, names: set[str]) -> set[str]:
    """The names, and those of values made with them: `Outs = list[Out]`."""
    made = [
        (node.targets if isinstance(node, ast.Assign) else [node.target], node.value)
        for module in case.modules.values()
        for node in module.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
    ]
    while True:
        more = {
            target.id
            for targets, value in made
            if _mentions(value, names)
            for target in targets
            if isinstance(target, ast.Name)
        }
        if more <= names:
            return names
        names = names | more


def _mentions(node: ast.AST, names: Collection[str]) -> bool:
    """Whether a name stands in code, also in the text of an annotation."""
    for each in ast.walk(node):
        match each:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                if name in names:
                    return True
            case ast.Constant(value=str(text)):
                if any(word in names for word in re.findall(r"\w+", text)):
                    return True
    return False


def _check_other_class(
    module: Module, cls: ast.ClassDef, names: Collection[str], *, is_ours: bool, is_kept: bool
) -> None:
    if any(_mentions(base, names) for base in cls.bases):
        raise _refuse(module, cls, f"{cls.name} derives from a class that would no longer be pydantic's")
    if (is_ours and not is_kept) or (not is_ours and _is_plain(module, cls)):
        return
    for each in cls.body:
        if isinstance(each, ast.AnnAssign) and _mentions(each.annotation, set(names) - {cls.name}):
            raise _refuse(module, each, f"{cls.name} holds a class that would no longer be pydantic's")


def _is_plain(module: Module, cls: ast.ClassDef) -> bool:
    """Whether it is surely no model of pydantic's."""
    bases = [module.resolve(base.value if isinstance(base, ast.Subscript) else base) for base in cls.bases]
    functions = [node.func if isinstance(node, ast.Call) else node for node in cls.decorator_list]
    decorators = [module.resolve(function) for function in functions]
    return all(isinstance(symbol, External) and symbol.name in _PLAIN_BASES for symbol in bases) and all(
        symbol == External("dataclasses.dataclass") for symbol in decorators
    )


def _check_call(module: Module, call: ast.Call, fields: Mapping[str, set[str]]) -> None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg for keyword in call.keywords}
    if isinstance(call.func, ast.Attribute) and name in _ANSWERED:
        if given - {*_ANSWERED[name]} or (call.args and not _is_foreign(module, call.func.value)):
            raise _refuse(module, call, f".{name}() is called with more than Cog's BaseModel takes")
    elif name in fields and (call.args or given - fields[name]):
        raise _refuse(module, call, f"{name} is made from more than its fields, which pydantic passes over")
    elif name in ("getattr", "hasattr") and any(getattr(part, "value", None) in _API for part in call.args[1:]):
        raise _refuse(module, call, f"{name}() may ask for what is pydantic's")
    elif name in ("isinstance", "issubclass") and any(_is_model(module, part) for part in call.args[1:]):
        raise _refuse(module, call, f"{name}() asks for pydantic's BaseModel")


def _check_handed_on(module: Module, values: Sequence[ast.expr], fields: Collection[str]) -> None:
    """Refuse a class that is a value: whoever has it may make or ask anything of it."""
    for value in values:
        if isinstance(value, ast.Name) and value.id in fields:
            raise _refuse(module, value, f"{value.id} is handed on to other code")


def _is_foreign(module: Module, owner: ast.expr) -> bool:
    """Whether something belongs to a module or a class from elsewhere: `copy.copy`, `numpy.copy`."""
    return isinstance(module.resolve(owner), External) and not _is_pydantics(module, owner)


def _is_model(module: Module, node: ast.AST) -> bool:
    parts = (part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute))
    return any(module.resolve(part) == External("pydantic.BaseModel") for part in parts)


def _pydantic_users(module: Module, node: ast.AST) -> Iterator[ast.AST]:
    """What pydantic is given: `TypeAdapter(list[Out])`, `RootModel[Out]`, `@validate_call def f(out: Out)`."""
    match node:
        case ast.Call(func=function):
            if _is_pydantics(module, function):
                yield from (*node.args, *node.keywords)
        case ast.Subscript(value=value, slice=inside):
            if _is_pydantics(module, value):
                yield inside
        case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
            if any(_is_pydantics(module, each.func if isinstance(each, ast.Call) else each) for each in decorators):
                yield from (node.args, *([node.returns] if node.returns else []))


def _is_pydantics(module: Module, node: ast.expr) -> bool:
    symbol = module.resolve(node)
    return isinstance(symbol, External) and symbol.name.partition(".")[0] == "pydantic"
