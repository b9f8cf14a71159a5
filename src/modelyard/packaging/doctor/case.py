"""A project as the checks see it: its cog.yaml, the files that this names, and those that they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from modelyard.packaging import brought
from modelyard.packaging.config_source import checks, reader, tree
from modelyard.packaging.config_source.checks import Refused
from modelyard.packaging.config_source.collector import Problem
from modelyard.packaging.doctor.machine import Machine
from modelyard.packaging.schema_source import elsewhere
from modelyard.packaging.schema_source.modules import Module, Newer, Project, SchemaError, is_file

# A file of the project that imports this many others is read no further.
MAX_FILES: Final = 500
# The keys of cog.yaml that name a file and something in it.
REFERENCES: Final = ("run", "predict", "train")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a key of cog.yaml names: `file` of the project, and `name` in it."""

    key: str
    line: int
    file: str
    name: str

    @property
    def text(self) -> str:
        return f"{self.file}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What was read. `program`: what the command is called.

    `unreadable`: why there is no `document`; `lost`: the cog.yaml is not there at all. `values` are those of `Config`
    by name, as far as they are right. `modules`: the Python files of the model by their path in the project, those that
    cog.yaml names first; `broken`: what is wrong with those that are no Python. `newer` reads files whose grammar our
    own parser does not know.
    """

    root: Path
    path: Path
    machine: Machine
    program: str = "yard"
    text: bytes = b""
    lost: bool = False
    unreadable: Problem | None = None
    document: tree.Node | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    references: tuple[Reference, ...] = ()
    modules: Mapping[str, Module] = field(default_factory=dict)
    broken: Mapping[str, SchemaError] = field(default_factory=dict)
    newer: Newer | None = None

    @property
    def name(self) -> str:
        """The cog.yaml's own name."""
        return self.path.name

    def reference(self, *keys: str) -> Reference | None:
        """What the first of the keys that is set names."""
        return next((each for each in self.references if each.key in keys), None)


def read(path: Path, machine: Machine, program: str = "yard", environ: Mapping[str, str] | None = None) -> Case:
    """The project of the cog.yaml at `path`. Nothing is raised: what cannot be read is a part of the case.

    `environ`: where a newer Python is looked for, should the project's files need one.
    """
    root = path.parent
    try:
        text = path.read_bytes()
    except OSError as error:
        lost = isinstance(error, FileNotFoundError)
        reason = f"{path.name} not found" if lost else f"{path.name}: {error.strerror}"
        unreadable = Problem(line=0, key="", reason=reason)
        return Case(root=root, path=path, machine=machine, program=program, lost=lost, unreadable=unreadable)
    try:
        document = tree.parse(text)
    except tree.YamlError as error:
        unreadable = Problem(line=error.line, key="", reason=f"invalid YAML: {error.detail}")
        return Case(root=root, path=path, machine=machine, program=program, text=text, unreadable=unreadable)
    values, problems, warnings = reader.read(document, root)
    references = tuple(_references(document))
    newer = _newer(values, environ)
    modules, broken = _modules(_Readable(root, newer), references)
    return Case(
        root=root,
        path=path,
        machine=machine,
        program=program,
        text=text,
        document=document,
        values=values,
        problems=tuple(problems),
        warnings=tuple(warnings),
        references=references,
        modules=modules,
        broken=broken,
        newer=newer,
    )


def _references(document: tree.Node) -> Iterator[Reference]:
    """Those with the right form; what is wrong with the others stands among the problems."""
    for key in REFERENCES:
        node = document.get(key)
        if node is None or node.kind != "text":
            continue
        try:
            file, _, name = checks.reference(node.value, "run.py:Runner").partition(":")
        except Refused:
            continue
        yield Reference(key=key, line=node.line, file=PurePosixPath(file).as_posix(), name=name)


class _Readable(Project):
    """A project in which a file that is no Python is as foreign as one that is not there."""

    def find(self, dotted: str, *, base: Path | None = None) -> Module | None:
        try:
            return super().find(dotted, base=base)
        except SchemaError:  # one of the case's broken files
            return None


def _newer(values: Mapping[str, Any], environ: Mapping[str, str] | None) -> elsewhere.Newer | None:
    wanted = values.get("python_version")
    if environ is None or wanted is None or not elsewhere.is_newer(wanted):
        return None
    return elsewhere.Newer(wanted, environ)


def _modules(project: Project, references: tuple[Reference, ...]) -> tuple[dict[str, Module], dict[str, SchemaError]]:
    root = project.root
    found: dict[str, Module] = {}
    broken: dict[str, SchemaError] = {}
    waiting = [root / each.file for each in references if is_file(root / each.file)]
    while waiting and len(found) < MAX_FILES:
        path = waiting.pop(0)
        name = path.relative_to(root).as_posix()
        if name in found or name in broken:
            continue
        try:
            found[name] = project.module(path)
        except SchemaError as error:
            broken[name] = error
        else:
            waiting += _imported(found[name])
    return found, broken


def _imported(module: Module) -> Iterator[Path]:
    """The files of the project that a file imports, wherever in it."""
    root = module.project.root
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from brought.paths(root, module.path, alias.name, [])
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            yield from brought.paths(root, module.path, source, [alias.name for alias in node.names])
