"""The files of a project and what the names in them stand for."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from modelyard import errors
from modelyard.packaging.schema_source.vocabulary import BUILTINS, EXTERNAL, STAR_NAMES, canonical, words

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

_MUTATORS: Final = words("add append clear discard extend insert pop popitem remove reverse setdefault sort update")
# Statements at the top of a file that call these do not change what they are given.
_HARMLESS: Final = frozenset({"print", "len", "repr", "str", "isinstance", "super"})
# Names of names of names: a longer chain is a circle.
MAX_ALIASES: Final = 16
# `a.b.c` with more dots than this is nothing that a type or a class is called.
MAX_DOTS: Final = 64
MAX_SOURCE_BYTES: Final = 16 * 1024 * 1024
# A longer line is not shown below a message.
MAX_SHOWN: Final = 200


def is_file(path: Path) -> bool:
    """Whether a file is there; of one whose folder cannot be read, or whose name is too long, it is not."""
    try:
        return path.is_file()
    except OSError:
        return False


Runnable = Literal["", "always", "former"]


class SchemaError(errors.ModelyardError):
    """The source says something that no schema can be made of; `file` (in the project) and `line` say where.

    `excerpt`: the line itself, with a mark below the place. `runnable`: whether importing the model could tell what its
    text does not: "always", or only where the rules of `former` Cogs hold.
    """

    status = 422
    code = "schema"
    title = "No schema can be read from the source"

    def __init__(
        self,
        detail: str,
        *,
        file: str = "",
        line: int = 0,
        hint: str | None = None,
        excerpt: str = "",
        runnable: Runnable = "",
    ) -> None:
        self.file = file
        self.line = line
        self.reason = detail
        self.excerpt = excerpt
        self.runnable = runnable
        place = f"{file}:{line}: " if line else f"{file}: " if file else ""
        super().__init__(place + detail + excerpt, hint=hint)

    def within(self, subject: str) -> SchemaError:
        """The same, told of `subject`."""
        return SchemaError(
            f"{subject}: {self.reason}",
            file=self.file,
            line=self.line,
            hint=self.hint,
            excerpt=self.excerpt,
            runnable=self.runnable,
        )


def no_python(name: str, error: Exception, *, note: str = "", hint: str | None = None) -> SchemaError:
    """The error of a file that a parser refuses, with the line and a caret below the place."""
    line, text, offset = (getattr(error, fact, None) for fact in ("lineno", "text", "offset"))
    reason = f"syntax error: {getattr(error, 'msg', None) or error}{note}"
    excerpt = ""
    if text and offset and len(text) <= MAX_SHOWN:
        bare = text.rstrip()
        indent = len(bare) - len(bare.lstrip())
        excerpt = f"\n    {bare.lstrip()}\n    {' ' * max(0, offset - 1 - indent)}^"
    return SchemaError(reason, file=name, line=line or 1, hint=hint, excerpt=excerpt)


_OLDER: Final = (
    f"it is read as Python {sys.version_info.major}.{sys.version_info.minor}; build.python_version in cog.yaml says"
    " which one the project is written for"
)
# What reads source text that our own parser refused: gives its tree, or raises SyntaxError or SchemaError.
Newer = Callable[[bytes, str, SyntaxError], ast.Module]


def parse(source: bytes, name: str, newer: Newer | None = None) -> ast.Module:
    """The tree of a file's text; `newer` reads what our own parser cannot. Raises SchemaError."""
    try:
        return ast.parse(source, name)
    except SyntaxError as error:
        if newer is None:
            raise no_python(name, error, hint=_OLDER) from None
        refused = error
    except (ValueError, RecursionError, MemoryError) as error:
        raise no_python(name, error) from None
    try:
        return newer(source, name, refused)
    except SyntaxError as error:
        raise no_python(name, error) from None


@dataclass(frozen=True, slots=True)
class External:
    """Something outside of the project's files, by its dotted name: `typing.List`, `builtins.str`, `torch.Tensor`."""

    name: str


@dataclass(frozen=True, slots=True)
class Defined:
    """A class, a function or a value in a file of the project."""

    module: Module
    node: Definition | ast.expr


@dataclass(frozen=True, slots=True)
class Inner:
    """A file of the project, imported as a module."""

    module: Module


@dataclass(frozen=True, slots=True)
class Unclear:
    """A name whose value cannot be told from the text, and why."""

    node: ast.AST
    reason: str


Symbol = External | Defined | Inner | Unclear


@dataclass(frozen=True, slots=True)
class _Imported:
    """`from source import name` (`name` None: `import source`); `level` counts the leading dots."""

    source: str
    name: str | None
    level: int = 0


class Project:
    """The files below `root`, each read once, when something in it is asked for.

    `newer` reads the files whose grammar our own parser does not know. `former`: the project is written for a Cog up to
    0.16, whose rules of types were pydantic's.
    """

    def __init__(self, root: Path, newer: Newer | None = None, *, former: bool = False) -> None:
        self.root = root
        self.newer = newer
        self.former = former
        self._modules: dict[Path, Module] = {}

    def module(self, path: Path) -> Module:
        """The file at `path`. Raises SchemaError where it is missing, too long or no Python."""
        if path not in self._modules:
            self._modules[path] = Module(self, path)
        return self._modules[path]

    def find(self, dotted: str, *, base: Path | None = None) -> Module | None:
        """The file behind a dotted module name, looked for from `base` (the root by default).

        Packages with an `__init__.py` are not followed: what they contain depends on running them.
        """
        if base is None and dotted.partition(".")[0] in EXTERNAL:
            return None
        stem = (base or self.root).joinpath(*dotted.split("."))
        for suffix in (".py", ".pyi"):
            path = stem.with_name(stem.name + suffix)
            if dotted and is_file(path):
                return self.module(path)
        return None


class Module:
    """One file: its tree and its names at the top level."""

    def __init__(self, project: Project, path: Path) -> None:
        self.project = project
        self.path = path
        self.name = path.relative_to(project.root).as_posix() if path.is_relative_to(project.root) else str(path)
        self.tree = self._parse()
        self._names: dict[str, _Imported | Definition | ast.expr | Unclear] = {}
        self._stars: list[_Imported] = []
        self._looking: set[str] = set()
        for node in self.tree.body:
            try:
                self._collect(node, certain=True)
            except RecursionError:
                raise self.error(node, "this statement is nested too deeply to be read") from None

    def _parse(self) -> ast.Module:
        try:
            source = self.path.read_bytes()
        except OSError as error:
            raise SchemaError(f"cannot be read: {error.strerror}", file=self.name) from None
        if len(source) > MAX_SOURCE_BYTES:
            raise SchemaError(f"has {len(source)} bytes, too many for source text", file=self.name)
        return parse(source, self.name, self.project.newer)

    def error(self, node: ast.AST, reason: str, *, hint: str | None = None, runnable: Runnable = "") -> SchemaError:
        """An error that points at `node`."""
        return SchemaError(reason, file=self.name, line=getattr(node, "lineno", 1), hint=hint, runnable=runnable)

    def _collect(self, node: ast.stmt, *, certain: bool) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self._import(node)
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if certain or node.name not in self._names:
                    self._names[node.name] = node
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value, certain)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, value, certain)
            case ast.AugAssign(target=ast.Name(id=name)):
                self._augment(name, node, certain)
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                pass
            case ast.If() | ast.Try() | ast.With():
                for inner in _statements(node):
                    self._collect(inner, certain=isinstance(node, ast.With) and certain)
            case _ if type(node).__name__ == "TypeAlias":  # `type X = ...`, known to Python 3.12 and later
                self._assign(node.name, node.value, certain)  # type: ignore[attr-defined]
            case ast.AnnAssign():
                pass
            case _:
                self._changes(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                bound = alias.asname or alias.name.partition(".")[0]
                self._names.setdefault(bound, _Imported(alias.name if alias.asname else bound, None))
            elif alias.name == "*":
                self._stars.append(_Imported(node.module or "", "*", node.level))
            else:
                self._names.setdefault(alias.asname or alias.name, _Imported(node.module or "", alias.name, node.level))

    def _assign(self, target: ast.expr, value: ast.expr, certain: bool) -> None:
        match target:
            case ast.Name(id=name):
                before = self._names.get(name)
                if certain or before is None:
                    self._names[name] = value
                elif isinstance(
                    before, ast.expr
                ):  # what an import or a definition bound stays: the other is a stand-in
                    self._names[name] = Unclear(target, f"'{name}' has different values under different conditions")
            case ast.Tuple(elts=targets) | ast.List(elts=targets):
                values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
                for place, inner in enumerate(targets):
                    if len(values) == len(targets):
                        self._assign(inner, values[place], certain)
                    else:
                        self._changes(inner)
            case _:
                self._changes(target)

    def _augment(self, name: str, node: ast.AugAssign, certain: bool) -> None:
        before = self._names.get(name)
        if certain and isinstance(before, ast.expr):
            self._names[name] = ast.copy_location(ast.BinOp(left=before, op=node.op, right=node.value), node)
        else:
            self._names[name] = Unclear(node, f"'{name}' is changed by a statement that is not read")

    def _changes(self, node: ast.AST) -> None:
        """Mark every name that a statement may change: what it then holds is known only by running it."""
        for inner in ast.walk(node):
            touched: list[ast.expr] = []
            match inner:
                case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                    self._names[name] = Unclear(node, f"'{name}' is bound by a statement that is not read")
                case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
                    touched = [value]
                case ast.Call(func=ast.Attribute(value=value, attr=method)) if method in _MUTATORS:
                    touched = [value]
                case ast.Call(func=function, args=arguments) if ast.unparse(function) not in _HARMLESS:
                    touched = arguments
            for value in touched:
                if isinstance(value, ast.Name) and isinstance(self._names.get(value.id), ast.expr):
                    self._names[value.id] = Unclear(node, f"'{value.id}' is changed by a statement that is not read")

    def lookup(self, name: str) -> Symbol | None:
        """What a name at the top level stands for; None where nothing binds it."""
        if name in self._looking:
            return None
        self._looking.add(name)
        try:
            return self._bound(name)
        finally:
            self._looking.discard(name)

    def _bound(self, name: str) -> Symbol | None:
        found = self._names.get(name)
        match found:
            case _Imported():
                return self._follow(found)
            case Unclear():
                return found
            case ast.AST():
                return Defined(self, found)
        for star in self._stars:
            symbol = self._follow(_Imported(star.source, name, star.level))
            if symbol is not None and not (isinstance(symbol, External) and symbol.name not in STAR_NAMES):
                return symbol
        return External(f"builtins.{name}") if name in BUILTINS else None

    def _follow(self, imported: _Imported) -> Symbol | None:
        base = None
        if imported.level:
            base = self.path.parent
            for _ in range(imported.level - 1):
                base = base.parent
            if not base.is_relative_to(self.project.root):
                return External(f"{'.' * imported.level}{imported.source}.{imported.name}")
        if imported.source or base:
            module = self.project.find(imported.source, base=base) if imported.source else None
            if module is not None:
                return Inner(module) if imported.name is None else module.lookup(imported.name)
        if imported.name is None:
            return External(imported.source)
        dotted = f"{imported.source}.{imported.name}".lstrip(".")
        module = self.project.find(dotted, base=base)
        return Inner(module) if module is not None else External(canonical(dotted))

    def resolve(self, node: ast.expr, depth: int = 0) -> Symbol | None:
        """What a name, or a chain of names and dots, stands for. Names of names are followed to what they name."""
        return self._resolve(node, depth) if _is_short(node) else None

    def _resolve(self, node: ast.expr, depth: int) -> Symbol | None:
        symbol: Symbol | None = None
        if isinstance(node, ast.Name):
            symbol = self.lookup(node.id)
        elif isinstance(node, ast.Attribute):
            symbol = self._member(self._resolve(node.value, depth), node.attr)
        if isinstance(symbol, Defined) and isinstance(symbol.node, ast.Name | ast.Attribute):
            return symbol.module.resolve(symbol.node, depth + 1) if depth < MAX_ALIASES else None
        return symbol

    def _member(self, owner: Symbol | None, name: str) -> Symbol | None:
        match owner:
            case External(name=outer):
                module = self.project.find(f"{outer}.{name}")
                return Inner(module) if module is not None else External(canonical(f"{outer}.{name}"))
            case Inner(module=module):
                return module.lookup(name)
            case Defined(module=module, node=ast.ClassDef() as cls):
                return member(module, cls, name)
        return None


def _is_short(node: ast.expr) -> bool:
    """Whether a chain of dots has few enough to be followed."""
    for _ in range(MAX_DOTS):
        if not isinstance(node, ast.Attribute):
            return True
        node = node.value
    return False


def member(module: Module, cls: ast.ClassDef, name: str, depth: int = 0) -> Symbol | None:
    """An attribute of a class: its own, or the first base's that has it."""
    found: Symbol | None = None
    for node in cls.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if node.name == name:
                found = Defined(module, node)
            case ast.Assign(targets=targets, value=value) if any(_is_name(target, name) for target in targets):
                found = Defined(module, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value) if _is_name(target, name):
                found = Defined(module, value)
    bases = iter(cls.bases if depth < 16 else [])
    while found is None and (base := next(bases, None)) is not None:
        symbol = module.resolve(base.value if isinstance(base, ast.Subscript) else base)
        if isinstance(symbol, Defined) and isinstance(symbol.node, ast.ClassDef):
            found = member(symbol.module, symbol.node, name, depth + 1)
    return found


def is_enumeration(module: Module, cls: ast.ClassDef, depth: int = 0) -> bool:
    """Whether a class is an `enum.Enum`, itself or through its bases."""
    for base in cls.bases if depth < 16 else []:
        symbol = module.resolve(base)
        if isinstance(symbol, External) and symbol.name in ("enum.Enum", "enum.IntEnum", "enum.StrEnum"):
            return True
        if isinstance(symbol, Defined) and isinstance(symbol.node, ast.ClassDef):
            return is_enumeration(symbol.module, symbol.node, depth + 1)
    return False


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _statements(node: ast.If | ast.Try | ast.With) -> list[ast.stmt]:
    found = list(node.body)
    if isinstance(node, ast.Try):
        found += [inner for handler in node.handlers for inner in handler.body]
        found += [*node.orelse, *node.finalbody]
    elif isinstance(node, ast.If):
        found += node.orelse
    return found
