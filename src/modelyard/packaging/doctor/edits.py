"""Changes in a Python file by the places of its tree; every byte that is not named stays as it is."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from modelyard.packaging.doctor.findings import CannotMend
from modelyard.packaging.schema_source.modules import Module

_MARK: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_NAME: Final = re.compile(rb"(?:async[ \t]+)?(?:def|class)[ \t]+")

Placed = ast.stmt | ast.expr | ast.alias | ast.keyword | ast.arg


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to `end`."""

    start: int
    end: int


class Edits:
    """The changes to one file. Raises CannotMend for a file whose places cannot be told."""

    def __init__(self, module: Module) -> None:
        source = module.path.read_bytes()
        self.name = module.name
        self.tree = module.tree
        self._mark = _MARK if source.startswith(_MARK) else b""
        self._source = source[len(self._mark) :]
        if not _is_utf8(source):
            raise CannotMend(f"{self.name} is not UTF-8 text")
        self._starts = [0, *(match.end() for match in _LINE_END.finditer(self._source))]
        found = _LINE_END.search(self._source)
        self.line_end = found[0].decode() if found else "\n"
        self._changes: list[tuple[Span, bytes]] = []

    def result(self) -> bytes:
        """The whole file with the changes in it. Raises CannotMend where they do not make a Python file."""
        parts: list[bytes] = []
        at = 0
        for span, text in sorted(self._changes, key=lambda change: (change[0].start, change[0].end)):
            if span.start < at:
                raise CannotMend(f"Manual migration required: changes in {self.name} overlap")
            parts += [self._source[at : span.start], text]
            at = span.end
        text = b"".join([*parts, self._source[at:]])
        try:
            ast.parse(text)
        except (SyntaxError, ValueError):
            raise CannotMend(f"Manual migration required: {self.name} cannot be rewritten safely") from None
        return self._mark + text

    # Where things are

    def span(self, node: Placed) -> Span:
        """The bytes of a node."""
        start = self._starts[node.lineno - 1] + node.col_offset
        return Span(start, self._starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0))

    # What can be changed

    def replace(self, node: Placed, text: str) -> None:
        """Other text in a node's place."""
        self._change(self.span(node), text)

    def rename_definition(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> None:
        """Another name for a class or function, at the place where it is defined."""
        start = self.span(node).start
        match = _NAME.match(self._source, start)
        old = node.name.encode()
        if match is None or not self._source.startswith(old, match.end()):
            raise CannotMend(f"Manual migration required: {self.name}:{node.lineno}: {node.name} is written unusually")
        self._change(Span(match.end(), match.end() + len(old)), name)

    def rename_imported(self, alias: ast.alias, name: str) -> None:
        """Another name to be imported; what it is called here stays where `as` says it."""
        start = self.span(alias).start
        self._change(Span(start, start + len(alias.name.encode())), name)

    def drop_items(self, items: Sequence[tuple[Placed, Placed]], dropped: Collection[int]) -> None:
        """Take items (each from one node to another) out of a list with commas, by their places; one at least stays."""
        spans = [Span(self.span(first).start, self.span(last).end) for first, last in items]
        place = 0
        while place < len(spans):
            first = place
            while place < len(spans) and place in dropped:
                place += 1
            if place > first:
                last = place == len(spans)
                start = spans[first - 1].end if last else spans[first].start
                self._change(Span(start, spans[place - 1].end if last else spans[place].start), "")
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
        end = self.span(node.names[-1]).end
        start = self.span(node.names[-1]).start
        line = self._starts[node.names[-1].lineno - 1]
        indent = self._source[line:start]
        joint = f",{self.line_end}{indent.decode()}" if not indent.strip() else ", "
        self._change(Span(end, end), joint + text)

    def add_line_before(self, node: ast.stmt, text: str) -> None:
        """A line of its own above a statement at the top level."""
        start = self._starts[node.lineno - 1]
        self._change(Span(start, start), text + self.line_end)

    def drop_statement(self, node: ast.stmt) -> None:
        """Take a statement away, with its line and what is said at the end of it where it has the line for itself."""
        span = self.span(node)
        line = self._starts[node.lineno - 1]
        last = node.end_lineno or node.lineno
        end = self._starts[last] if last < len(self._starts) else len(self._source)
        before, after = self._source[line : span.start], self._source[span.end : end]
        rest = after.lstrip(b" \t")
        if rest.startswith(b";") and rest[1:].strip() and not rest[1:].lstrip().startswith(b"#"):
            kept = rest[1:].lstrip(b" \t")
            self._change(Span(span.start, end - len(kept)), "")
        elif not before.strip():
            self._change(Span(line, end), "")
        elif before.rstrip().endswith(b";"):
            self._change(Span(line + len(before.rstrip()) - 1, span.end), "")
        else:
            raise CannotMend(f"Manual migration required: {self.name}:{node.lineno}: it shares its line with another")

    def drop_statements(self, body: Sequence[ast.stmt], dropped: Collection[ast.stmt]) -> None:
        """Take statements out of a body; `pass` stands for them where none is left."""
        left = [node for node in body if node not in dropped]
        for place, node in enumerate(node for node in body if node in dropped):
            if place == 0 and not left and body is not self.tree.body:
                self.replace(node, "pass")
            else:
                self.drop_statement(node)

    def _change(self, span: Span, text: str) -> None:
        self._changes.append((span, text.encode()))


def bound(alias: ast.alias) -> str:
    """What an imported name is called in the file that imports it."""
    return alias.asname or alias.name.partition(".")[0]


def _is_utf8(source: bytes) -> bool:
    """The tree counts bytes of UTF-8, so the file has to be written in it."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        source.decode("utf-8")
    except (SyntaxError, UnicodeDecodeError):
        return False
    return encoding in ("utf-8", "utf-8-sig")
