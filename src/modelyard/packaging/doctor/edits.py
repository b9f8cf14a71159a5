"""Changes in a Python file by the places of its tree; every byte that is not named stays as it is."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from modelyard.packaging.doctor.findings import CannotMend
from modelyard.packaging.schema_source.modules import Module

_MARK: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_TYPE_PARAMETERS: Final = frozenset({"TypeVar", "ParamSpec", "TypeVarTuple"})
_NAME: Final = re.compile(rb"(?:async[ \t]+)?(?:def|class)[ \t]+")

Placed = ast.stmt | ast.expr | ast.alias | ast.keyword


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int


class Edits:
    """The changes to one file. Raises CannotMend for a file whose places cannot be told."""

    def __init__(self, module: Module) -> None:
        source = module.path.read_bytes()
        self._name = module.name
        self._tree = module.tree
        self._mark = _MARK if source.startswith(_MARK) else b""
        self._source = source[len(self._mark) :]
        if not _is_utf8(source):
            raise CannotMend(f"{self._name} is not UTF-8 text")
        self._starts = [0, *(match.end() for match in _LINE_END.finditer(self._source))]
        found = _LINE_END.search(self._source)
        self._line_end = found[0].decode() if found else "\n"
        self._changes: list[tuple[_Span, bytes]] = []

    def result(self) -> bytes:
        """The whole file with the changes in it. Raises CannotMend where they do not make a Python file."""
        parts: list[bytes] = []
        at = 0
        for span, text in sorted(self._changes, key=lambda change: (change[0].start, change[0].end)):
            if span.start < at:
                raise CannotMend(f"Manual migration required: changes in {self._name} overlap")
            parts += [self._source[at : span.start], text]
            at = span.end
        text = b"".join([*parts, self._source[at:]])
        try:
            ast.parse(text)
        except (SyntaxError, ValueError):
            raise CannotMend(f"Manual migration required: {self._name} cannot be rewritten safely") from None
        return self._mark + text

    # Where things are

    def _span(self, node: Placed) -> _Span:
        start = self._starts[node.lineno - 1] + node.col_offset
        return _Span(start, self._starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0))

    # What can be changed

    def replace(self, node: Placed, text: str) -> None:
        """Other text in a node's place."""
        self._change(self._span(node), text)

    def rename_definition(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> None:
        """Another name for a class or function, at the place where it is defined."""
        start = self._span(node).start
        match = _NAME.match(self._source, start)
        old = node.name.encode()
        if match is None or not self._source.startswith(old, match.end()):
            raise CannotMend(f"Manual migration required: {self._name}:{node.lineno}: {node.name} is written unusually")
        self._change(_Span(match.end(), match.end() + len(old)), name)

    def rename_imported(self, alias: ast.alias, name: str) -> None:
        """Another name to be imported; what it is called here stays where `as` says it."""
        start = self._span(alias).start
        self._change(_Span(start, start + len(alias.name.encode())), name)

    def drop_items(self, items: Sequence[tuple[Placed, Placed]], dropped: Collection[int]) -> None:
        """Take items (each from one node to another) out of a list with commas, by their places; one at least stays."""
        spans = [_Span(self._span(first).start, self._span(last).end) for first, last in items]
        place = 0
        while place < len(spans):
            first = place
            while place < len(spans) and place in dropped:
                place += 1
            if place > first:
                last = place == len(spans)
                start = spans[first - 1].end if last else spans[first].start
                self._change(_Span(start, spans[place - 1].end if last else spans[place].start), "")
            place += 1

    def drop_imported(self, node: ast.Import | ast.ImportFrom, names: Collection[str]) -> None:
        """Take names (as they are called here) out of an import; the statement goes with its last one."""
        dropped = [place for place, alias in enumerate(node.names) if bound(alias) in names]
        if len(dropped) == len(node.names):
            self.drop_statement(node)
        else:
            self.drop_items([(alias, alias) for alias in node.names], dropped)

    def add_imported(self, node: ast.ImportFrom, text: str) -> None:
        """One more name at the end of a `from … import …`, on a line of its own where the last one has one."""
        end = self._span(node.names[-1]).end
        start = self._span(node.names[-1]).start
        line = self._starts[node.names[-1].lineno - 1]
        indent = self._source[line:start]
        joint = f",{self._line_end}{indent.decode()}" if not indent.strip() else ", "
        self._change(_Span(end, end), joint + text)

    def add_line_before(self, node: ast.stmt, text: str) -> None:
        """A line of its own above a statement at the top level, which has to be the first one of its line."""
        start = self._starts[node.lineno - 1]
        if self._source[start : self._span(node).start].strip():
            raise CannotMend(f"Manual migration required: {self._name}:{node.lineno}: it shares its line with another")
        self._change(_Span(start, start), text + self._line_end)

    def drop_statement(self, node: ast.stmt) -> None:
        """Take a statement away, with its line and what is said at the end of it where it has the line for itself."""
        span = self._span(node)
        line = self._starts[node.lineno - 1]
        last = node.end_lineno or node.lineno
        end = self._starts[last] if last < len(self._starts) else len(self._source)
        before, after = self._source[line : span.start], self._source[span.end : end]
        rest = after.lstrip(b" \t")
        if rest.startswith(b";") and rest[1:].strip() and not rest[1:].lstrip().startswith(b"#"):
            kept = rest[1:].lstrip(b" \t")
            self._change(_Span(span.start, end - len(kept)), "")
        elif not before.strip():
            self._change(_Span(line, end), "")
        elif before.rstrip().endswith(b";"):
            self._change(_Span(line + len(before.rstrip()) - 1, span.end), "")
        else:
            raise CannotMend(f"Manual migration required: {self._name}:{node.lineno}: it shares its line with another")

    def drop_statements(self, body: Sequence[ast.stmt], dropped: Collection[ast.stmt]) -> None:
        """Take statements out of a body; `pass` stands for them where none is left."""
        left = [node for node in body if node not in dropped]
        for place, node in enumerate(node for node in body if node in dropped):
            if place == 0 and not left and body is not self._tree.body:
                self.replace(node, "pass")
            else:
                self.drop_statement(node)

    def _change(self, span: _Span, text: str) -> None:
        self._changes.append((span, text.encode()))


def bound(alias: ast.alias) -> str:
    """What an imported name is called in the file that imports it."""
    return alias.asname or alias.name.partition(".")[0]


def names(node: ast.AST) -> Iterator[str]:
    """The names that code uses or sets, once for each place."""
    return (inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts in a file with their lines: a name may stand in one of them as well, as in `__all__`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def bindings(tree: ast.AST, name: str) -> Iterator[ast.AST]:
    """All that gives a name its meaning, in whatever scope of the file."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=found, ctx=ast.Store() | ast.Del()):
                taken = [found]
            case ast.alias():
                taken = [bound(node)]
            case ast.arg(arg=found):
                taken = [found]
            case ast.Global(names=taken) | ast.Nonlocal(names=taken):
                pass
            case ast.MatchMapping(rest=found):
                taken = [found or ""]
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ExceptHandler():
                taken = [node.name or ""]
            case ast.MatchAs() | ast.MatchStar():
                taken = [node.name or ""]
            case _:
                # the parameters of generics, which Python 3.12 and later know
                taken = [node.name] if type(node).__name__ in _TYPE_PARAMETERS else []  # type: ignore[attr-defined]
        if name in taken:
            yield node


def _is_utf8(source: bytes) -> bool:
    """The tree counts bytes of UTF-8, so the file has to be written in it."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)  # what is none was no Python either
    return encoding in ("utf-8", "utf-8-sig")
