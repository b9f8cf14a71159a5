"""From the names of older Cogs to those of today: `predict.py:Predictor` becomes `run.py:Runner`."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from modelyard.packaging.doctor import renaming, uses
from modelyard.packaging.doctor.case import Case, Reference
from modelyard.packaging.doctor.findings import CannotMend, Finding
from modelyard.packaging.schema_source.modules import Defined, Module, SchemaError, is_file, parse

_OLD_FILE: Final = "predict.py"
_NEW_FILE: Final = "run.py"
_OLD: Final = f"{_OLD_FILE}:Predictor"
_NEW_LINE: Final = b'run: "run.py:Runner"'
_LINE: Final = re.compile(
    rb"""^(?:\xef\xbb\xbf)?
    (?P<line>(?:predict|run)[ \t]*:[ \t]+(?P<quote>["']?)predict\.py:Predictor(?P=quote)(?=[ \t]*\r?$|[ \t]+\#))""",
    re.MULTILINE | re.VERBOSE,
)
# What imports a module that a text names.
_IMPORTING: Final = frozenset({"import_module", "__import__", "run_module"})
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
    if not renaming.has_old_base(module, reference.name):
        dotted = ".".join(PurePosixPath(reference.file).with_suffix("").parts).removesuffix(".__init__")
        importer = next(_importers(case, dotted), None)
        if importer is not None:
            raise CannotMend(f"Manual migration required: {importer} imports {reference.file}")
    elsewhere = uses.elsewhere(case, module, {"BasePredictor"})
    if elsewhere:
        raise CannotMend(f"Manual migration required: {elsewhere} takes BasePredictor from {reference.file}")
    return {module.path: renaming.rewritten(module, reference.name)}


def _moved(case: Case) -> Mapping[Path, bytes | None]:
    cannot = f"cannot migrate {_OLD_FILE} to {_NEW_FILE} because"
    old, new = case.root / _OLD_FILE, case.root / _NEW_FILE
    if not old.is_file():
        raise CannotMend(f"{cannot} {_OLD_FILE} was not found")
    if old.is_symlink():
        raise CannotMend(f"Manual migration required: {_OLD_FILE} is a link to another file")
    module = case.modules.get(_OLD_FILE)
    if module is None:
        raise CannotMend(f"Manual migration required: {_OLD_FILE} cannot be read as Python")
    if os.path.lexists(new) and not _is_begun(new, module):
        raise CannotMend(f"{cannot} {_NEW_FILE} already exists")
    training = case.reference("train")
    if training is not None and training.file == _OLD_FILE:
        raise CannotMend(f"Manual migration required: train of {case.name} names {_OLD_FILE} too")
    importer = next(_importers(case, "predict"), None)
    if importer is not None:
        raise CannotMend(f"Manual migration required: {importer} imports {_OLD_FILE}")
    found = list(_LINE.finditer(case.text))
    if len(found) != 1:
        raise CannotMend(f"Manual migration required: no line of {case.name} is predict: {_OLD}")
    text = case.text[: found[0].start("line")] + _NEW_LINE + case.text[found[0].end() :]
    return {new: renaming.rewritten(module, "Predictor"), case.path: text, old: None}


def _is_begun(new: Path, module: Module) -> bool:
    """Whether a file is what an earlier mending, which then could not go on, has made of the old one."""
    try:
        return new.is_file() and not new.is_symlink() and new.read_bytes() == renaming.rewritten(module, "Predictor")
    except CannotMend:
        return False


def _importers(case: Case, dotted: str) -> Iterator[str]:
    """The files of the project that import a module of it."""
    stem = dotted.rpartition(".")[2].encode()
    for folder, names, files in os.walk(case.root):
        names[:] = [name for name in names if name not in _PASSED_OVER and not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if name.endswith(".py") and is_file(path) and stem in (source := path.read_bytes()):
                try:
                    tree = parse(source, name, case.newer)
                except SchemaError:
                    continue
                if any(_imports(node, dotted) for node in ast.walk(tree)):
                    yield path.relative_to(case.root).as_posix()


def _imports(node: ast.AST, dotted: str) -> bool:
    """Whether a node imports a module, from the project's root or from its own folder."""
    stem = dotted.rpartition(".")[2]
    match node:
        case ast.Import(names=names):
            return any(alias.name in (dotted, stem) for alias in names)
        case ast.ImportFrom(module=source, names=names, level=level):
            whole = [f"{source}.{alias.name}" if source else alias.name for alias in names]
            if source in (dotted, stem) or dotted in whole or (not source and stem in whole):
                return True
            return bool(level) and stem in ((source or "").rpartition(".")[2], *(alias.name for alias in names))
        case ast.Call(func=function, args=[ast.Constant(value=str(named)), *_]):
            called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            return called in _IMPORTING and named.lstrip(".") in (dotted, stem)
    return False


def _old_class(case: Case, reference: Reference) -> ast.ClassDef | None:
    """The class that the reference names, where it has an old name, base or method."""
    module = case.modules.get(reference.file)
    symbol = None if module is None else module.lookup(reference.name)
    if not isinstance(symbol, Defined) or not isinstance(symbol.node, ast.ClassDef):
        return None
    cls = symbol.node
    is_old = cls.name == "Predictor" or bool(renaming.methods(cls, "predict"))
    return cls if is_old or any(symbol.module.resolve(base) == renaming.OLD_BASE for base in cls.bases) else None
