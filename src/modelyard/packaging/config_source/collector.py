"""Takes single values out of a tree and notes what is wrong with them, so that all faults are told at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from modelyard.packaging.config_source.checks import Refused
from modelyard.packaging.config_source.tree import Node

T = TypeVar("T")

_DEAD: Final = frozenset({"build.fast", "build.python_overrides", "tests"})
KINDS: Final = {"map": "a mapping", "list": "a list", "text": "text", "null": "nothing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A fault, or something to be told: at a line, in a key, with what was found there and a next step.

    `form`: the value is of a wrong kind, such as text where a mapping belongs.
    """

    line: int
    key: str
    reason: str
    found: str | None = None
    hint: str = ""
    form: bool = False

    @property
    def text(self) -> str:
        """`3: invalid build.cuda "10": minimum …`: line, key, what was found, what is wanted."""
        shown = "" if self.found is None else ' "{}"'.format(self.found[:100].replace("\n", "\\n"))
        if not self.key:
            return f"{self.line}: {self.reason}"
        if self.form:
            return f'{self.line}: schema error in "{self.key}": {self.reason}{shown}'
        return f"{self.line}: invalid {self.key}{shown}: {self.reason}"


class Collector:
    """The problems and warnings of one file so far."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def map(self, owner: Node, path: str, name: str) -> Node | None:
        """A key that must be a mapping; None where it is missing or something else."""
        node = owner.get(name)
        if node is not None and node.kind != "map":
            self.wrong_kind(node, join(path, name), "a mapping")
            return None
        return node

    def text(self, owner: Node, path: str, name: str, rule: Callable[[str], T], *, required: bool = False) -> T | None:
        """What `rule` makes of the text of a key; None where it is missing or wrong."""
        node = owner.get(name)
        if node is None:
            if required:
                self.problem(owner, join(path, name), "is required")
            return None
        return self.scalar(node, join(path, name), rule)

    def scalar(self, node: Node, key: str, rule: Callable[[str], T]) -> T | None:
        """What `rule` makes of a text."""
        if node.kind != "text":
            self.wrong_kind(node, key, "text")
            return None
        try:
            return rule(node.value)
        except Refused as refused:
            self.problem(node, key, refused.reason, node.value, hint=refused.hint)
            return None

    def items(self, owner: Node, path: str, name: str) -> Iterator[tuple[int, Node]]:
        """The items of a list under a key, with their places."""
        node = owner.get(name)
        if node is None:
            return
        if node.kind != "list":
            self.wrong_kind(node, join(path, name), "a list")
            return
        yield from enumerate(node.value)

    def texts(self, owner: Node, path: str, name: str, rule: Callable[[str], str]) -> tuple[str, ...] | None:
        """A list of texts; None where the key is missing."""
        if owner.get(name) is None:
            return None
        key = join(path, name)
        found = [self.scalar(item, f"{key}[{place}]", rule) for place, item in self.items(owner, path, name)]
        return tuple(text for text in found if text is not None)

    def known(self, node: Node, path: str, names: tuple[str, ...]) -> None:
        """Warn of keys that mean nothing; a mistyped one is the usual reason why a setting has no effect."""
        for name, value in node.items():
            key = join(path, name)
            if key in _DEAD:
                self.warn(value, key, f'"{key}" has no effect any more; remove it')
            elif name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                meant = f'; did you mean "{join(path, near[0])}"?' if near else f" (known: {', '.join(names)})"
                self.warn(value, key, f'unknown key "{key}" is ignored{meant}')

    def deprecated(self, owner: Node, key: str, instead: str) -> None:
        """Warn of a key that has a better one."""
        node = owner.get(key.rpartition(".")[2])
        self.warn(node, key, f'deprecated field "{key}": use "{instead}" instead')

    def problem(self, node: Node | None, key: str, reason: str, found: str | None = None, *, hint: str = "") -> None:
        """Note a fault."""
        line = node.line if node is not None else 1
        self.problems.append(Problem(line=line, key=key, reason=reason, found=found, hint=hint))

    def wrong_kind(self, node: Node, key: str, wanted: str) -> None:
        """Note that a value should be something else altogether."""
        found = node.value if node.kind == "text" else None
        reason = f"must be {wanted}, found {KINDS[node.kind]}"
        self.problems.append(Problem(line=node.line, key=key, reason=reason, found=found, form=True))

    def warn(self, node: Node | None, key: str, reason: str) -> None:
        """Note something to be told."""
        self.warnings.append(Problem(line=node.line if node is not None else 1, key=key, reason=reason))


def join(path: str, name: str) -> str:
    """A key by its path: `build.cuda`."""
    return f"{path}.{name}" if path else name
