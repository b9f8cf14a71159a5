"""Checks of cog.yaml: can it be read, is it right, is it up to date, is there what it names?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from modelyard.packaging import config
from modelyard.packaging.config_source import checks
from modelyard.packaging.config_source.checks import Refused
from modelyard.packaging.config_source.collector import Problem
from modelyard.packaging.doctor.case import REFERENCES, Case, Reference
from modelyard.packaging.doctor.findings import Finding, Severity
from modelyard.packaging.schema_source import functions
from modelyard.packaging.schema_source.modules import External, Module, SchemaError, is_file

# What is better than an old key, and how to get there.
_INSTEAD: Final = {
    "build.python_packages": (
        "use a requirements.txt file instead",
        "Move the packages into requirements.txt and set build.python_requirements to it",
    ),
    "build.pre_install": ("use build.run instead", "Move the commands to build.run"),
    "concurrency.max": ("use @cog.concurrent instead", "Write @cog.concurrent(max=N) above the run method"),
}


def parsing(case: Case) -> list[Finding]:
    """config-parse: there is a cog.yaml, and it is YAML."""
    problem = case.unreadable
    if problem is None:
        return []
    if case.lost:
        remedy = f'Run "{case.program} init" to create a cog.yaml'
        if case.name != config.FILE:
            remedy = f"-f names the {config.FILE} to use; without it the nearest one upwards is"
        return [Finding(severity="error", message=problem.reason, remedy=remedy)]
    remedy = f"Correct line {problem.line} of {case.name}" if problem.line else f"Make {case.name} readable"
    return [Finding(severity="error", message=problem.reason, file=case.name, line=problem.line, remedy=remedy)]


def schema(case: Case) -> list[Finding] | None:
    """config-schema: every key is known and has a value that it may have. Keys without a meaning are only told."""
    if case.document is None:
        return None
    found = [_finding(case, problem, "error") for problem in case.problems if not _is_bad_form(problem)]
    said = (problem for problem in case.warnings if not _is_deprecation(problem))
    return [*found, *(_finding(case, problem, "info") for problem in said)]


def _finding(case: Case, problem: Problem, severity: Severity) -> Finding:
    message = problem.text.partition(": ")[2] if severity == "error" else problem.reason
    return Finding(severity=severity, message=message, file=case.name, line=problem.line, remedy=_sentence(problem))


def _sentence(problem: Problem) -> str:
    if problem.hint:
        return _capital(problem.hint)
    return f"Correct {problem.key}" if problem.key else ""


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _is_deprecation(problem: Problem) -> bool:
    return problem.reason.startswith("deprecated field ")


def deprecated_fields(case: Case) -> list[Finding] | None:
    """config-deprecated-fields: keys that have a better one; `predict` is the migration's business."""
    if case.document is None:
        return None
    return [
        Finding(
            severity="warning",
            message=f'"{problem.key}" is deprecated: {_INSTEAD[problem.key][0]}',
            file=case.name,
            line=problem.line,
            remedy=_INSTEAD[problem.key][1],
        )
        for problem in case.warnings
        if _is_deprecation(problem) and problem.key in _INSTEAD
    ]


# What the references name


def references(case: Case) -> list[Finding] | None:
    """config-predict-ref: what `run`, `predict` and `train` name is there, and the model's files are Python."""
    if case.document is None:
        return None
    found = [_finding(case, problem, "error") for problem in case.problems if _is_bad_form(problem)]
    found += [_broken(file, error) for file, error in case.broken.items()]
    for reference in case.references:
        found += _named(case, reference)
    return found


def _is_bad_form(problem: Problem) -> bool:
    """A reference that no file and name can be read from."""
    if problem.key not in REFERENCES or problem.found is None:
        return False
    try:
        checks.reference(problem.found, "")
    except Refused:
        return True
    return False


def _named(case: Case, reference: Reference) -> Iterator[Finding]:
    file, name = reference.file, reference.name
    if not is_file(case.root / file):
        remedy = f"Create {file} or update the {reference.key} field in {case.name}"
        yield Finding(severity="error", message=f"{file} not found", file=case.name, line=reference.line, remedy=remedy)
    module = case.modules.get(file)
    if module is None:
        return
    symbol = module.lookup(name)
    is_builtin = isinstance(symbol, External) and symbol.name.startswith("builtins.")
    if isinstance(symbol, External) and not is_builtin:
        return  # what a package has in it is not read
    try:
        functions.find(module.project, reference.text, "train" if reference.key == "train" else "predict")
    except SchemaError as error:
        if symbol is None or is_builtin:
            yield _no_class(case, reference, module)
        elif error.file not in case.broken:
            remedy = _capital(error.hint or f"Correct line {error.line} of {error.file}")
            yield Finding(severity="error", message=error.reason, file=error.file, line=error.line, remedy=remedy)


def _no_class(case: Case, reference: Reference, module: Module) -> Finding:
    file, name = reference.file, reference.name
    return Finding(
        severity="error",
        message=f'class "{name}" not found in {file}; found: {", ".join(_classes(module)) or "no class"}',
        file=case.name,
        line=reference.line,
        remedy=f"Add class {name} to {file} or update the {reference.key} field in {case.name}",
    )


def _broken(file: str, error: SchemaError) -> Finding:
    remedy = f"Correct line {error.line} of {file}" if error.line else f"Make {file} readable"
    return Finding(severity="error", message=error.reason, file=file, line=error.line, remedy=remedy)


def _classes(module: Module) -> list[str]:
    return [node.name for node in module.tree.body if isinstance(node, ast.ClassDef)]
