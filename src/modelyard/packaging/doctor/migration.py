"""From the names of older Cogs to those of today: `predict.py:Predictor` becomes `run.py:Runner`."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from modelyard.packaging.doctor.case import Case, Reference
from modelyard.packaging.doctor.edits import Edits
from modelyard.packaging.doctor.findings import CannotMend, Finding
from modelyard.packaging.schema_source.modules import Defined, External, Module

_OLD_FILE: Final = "predict.py"
_NEW_FILE: Final = "run.py"
_OLD: Final = f"{_OLD_FILE}:Predictor"
_NEW_LINE: Final = b'run: "run.py:Runner"'
_LINE: Final = re.compile(
    rb"""^(?:predict|run)[ \t]*:[ \t]+(?P<quote>["']?)predict\.py:Predictor(?P=quote)(?=[ \t]*\r?$|[ \t]+\#)""",
    re.MULTILINE,
)
_OLD_BASE: Final = External("cog.BasePredictor")
_METHOD = ast.FunctionDef | ast.AsyncFunctionDef
_PASSED_OVER: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


def look(case: Case) -> list[Finding] | None:
    """predict-to-run-migration: cog.yaml and the model's class use today's names."""
    if case.document is None:
        return None
    found = []
    node = case.document.get("predict")
    if node is not None:
        message = f"predict in {case.name} is deprecated; use run with {_NEW_FILE}:Runner"
        remedy = f"Rename the key to run, {_OLD_FILE} to {_NEW_FILE} and Predictor to Runner"
        found.append(
            Finding(severity="warning", message=message, file=case.name, line=node.line, remedy=remedy),
        )
    reference = case.reference("run", "predict")
    cls = None if reference is None else _old_class(case, reference)
    if reference is not None and cls is not None:
        message = f"{reference.file} uses deprecated Predictor/BasePredictor/predict() names"
        remedy = "Use the names Runner, BaseRunner and run() instead"
        found.append(
            Finding(severity="warning", message=message, file=reference.file, line=cls.lineno, remedy=remedy),
        )
    return found


def mend(case: Case) -> Mapping[Path, bytes | None]:
    """The renamed file and the line of cog.yaml; only the class's own names where those are all that is old."""
    reference = case.reference("run", "predict")
    if reference is None:
        raise CannotMend(f"Manual migration required: {case.name} names no file and class")
    if reference.text == _OLD:
        return _moved(case)
    module = case.modules.get(reference.file)
    if reference.key == "predict" or reference.name == "Predictor" or module is None:
        raise CannotMend(f"Manual migration required: {case.name} names {reference.text}, not {_OLD}")
    return {module.path: _rewritten(module, reference.name)}


def _moved(case: Case) -> Mapping[Path, bytes | None]:
    cannot = f"cannot migrate {_OLD_FILE} to {_NEW_FILE} because"
    old, new = case.root / _OLD_FILE, case.root / _NEW_FILE
    if not old.is_file():
        raise CannotMend(f"{cannot} {_OLD_FILE} was not found")
    if os.path.lexists(new):
        raise CannotMend(f"{cannot} {_NEW_FILE} already exists")
    if old.is_symlink():
        raise CannotMend(f"Manual migration required: {_OLD_FILE} is a link to another file")
    module = case.modules.get(_OLD_FILE)
    if module is None:
        raise CannotMend(f"Manual migration required: {_OLD_FILE} cannot be read as Python")
    training = case.reference("train")
    if training is not None and training.file == _OLD_FILE:
        raise CannotMend(f"Manual migration required: train of {case.name} names {_OLD_FILE} too")
    importer = next(_importers(case.root), None)
    if importer is not None:
        raise CannotMend(f"Manual migration required: {importer} imports {_OLD_FILE}")
    found = list(_LINE.finditer(case.text))
    if len(found) != 1:
        raise CannotMend(f"Manual migration required: no line of {case.name} is predict: {_OLD}")
    text = case.text[: found[0].start()] + _NEW_LINE + case.text[found[0].end() :]
    return {new: _rewritten(module, "Predictor"), case.path: text, old: None}


def _importers(root: Path) -> Iterator[str]:
    """The files of the project that import predict.py, by the name that it is about to lose."""
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _PASSED_OVER and not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if name.endswith(".py") and path.is_file() and b"predict" in (source := path.read_bytes()):
                try:
                    tree = ast.parse(source)
                except (SyntaxError, ValueError, RecursionError, MemoryError):
                    continue
                if any(map(_imports_predict, ast.walk(tree))):
                    yield path.relative_to(root).as_posix()


def _imports_predict(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any(alias.name == "predict" for alias in names)
        case ast.ImportFrom(module="predict"):
            return True
        case ast.ImportFrom(module=None, names=names):
            return any(alias.name == "predict" for alias in names)
    return False


# The class


def _old_class(case: Case, reference: Reference) -> ast.ClassDef | None:
    """The class that the reference names, where it has an old name, base or method."""
    module = case.modules.get(reference.file)
    symbol = None if module is None else module.lookup(reference.name)
    if not isinstance(symbol, Defined) or not isinstance(symbol.node, ast.ClassDef):
        return None
    cls = symbol.node
    is_old = cls.name == "Predictor" or bool(_methods(cls, "predict"))
    return cls if is_old or any(symbol.module.resolve(base) == _OLD_BASE for base in cls.bases) else None


def _methods(cls: ast.ClassDef, name: str) -> list[_METHOD]:
    return [node for node in cls.body if isinstance(node, _METHOD) and node.name == name]


def _rewritten(module: Module, name: str) -> bytes:
    """The file with new names: of the class, its base, the import of that, and the method."""
    classes = [node for node in module.tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    if len(classes) != 1:
        raise CannotMend(f"Manual migration required: {module.name} does not define one class {name}")
    cls = classes[0]
    _check_class(module, cls)
    edits = Edits(module)
    if name == "Predictor":
        _rename_class(module, edits, cls)
    _rename_base(module, edits)
    for method in _methods(cls, "predict"):
        edits.rename_definition(method, "run")
    return edits.result()


def _check_class(module: Module, cls: ast.ClassDef) -> None:
    """Refuse what only a person can move."""
    name = f"Manual migration required: {cls.name}"
    methods = _methods(cls, "predict")
    if len(methods) > 1:
        raise CannotMend(f"{name} defines predict more than once")
    if not methods:
        if _methods(cls, "run"):
            return
        raise CannotMend(f"{name} has no method predict of its own")
    if any(
        isinstance(each, ast.Name) and each.id in ("staticmethod", "classmethod", "property")
        for each in methods[0].decorator_list
    ):
        raise CannotMend(f"{name}.predict is no plain method")
    has_base = any(module.resolve(base) == _OLD_BASE for base in cls.bases)
    for node in ast.walk(cls):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            if node.attr == "run":
                raise CannotMend(f"{name} uses the name self.run for something else")
            if node.attr == "predict" and not has_base:
                raise CannotMend(f"{name} calls its own predict")
    if _methods(cls, "run"):
        raise CannotMend(f"{name} defines run as well")


def _rename_class(module: Module, edits: Edits, cls: ast.ClassDef) -> None:
    if module.lookup("Runner") is not None:
        raise CannotMend(f"Manual migration required: {module.name} has something called Runner already")
    edits.rename_definition(cls, "Runner")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id == "Predictor":
            edits.replace(node, "Runner")


def _rename_base(module: Module, edits: Edits) -> None:
    """`BasePredictor` of cog, as it is imported or reached through its module, wherever the file uses it."""
    renamed = False
    for node in module.tree.body:
        if not isinstance(node, ast.ImportFrom) or node.level:
            continue
        for alias in node.names:
            if alias.name != "BasePredictor":
                continue
            if node.module != "cog":
                raise CannotMend(f"Manual migration required: {module.name} imports BasePredictor from {node.module}")
            edits.rename_imported(alias, "BaseRunner")
            renamed = renamed or alias.asname is None
    for use in ast.walk(module.tree):
        if renamed and isinstance(use, ast.Name) and use.id == "BasePredictor":
            edits.replace(use, "BaseRunner")
        elif isinstance(use, ast.Attribute) and use.attr == "BasePredictor" and module.resolve(use) == _OLD_BASE:
            edits.replace(use, f"{ast.unparse(use.value)}.BaseRunner")
