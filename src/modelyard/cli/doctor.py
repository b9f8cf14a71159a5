"""`yard doctor`: what is wrong with the project of the current folder, and mending what can be mended."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from modelyard import settings
from modelyard.cli import program, store_check
from modelyard.cli import talk as results
from modelyard.cli.examples import examples
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.packaging import config
from modelyard.packaging.config import ConfigError
from modelyard.packaging.doctor import case, machine
from modelyard.packaging.doctor.examination import Result, examine
from modelyard.packaging.doctor.findings import Finding

_MARKS: Final = {
    "ok": ("✔", "green"),
    "fixed": ("✔", "green"),
    "info": ("✔", "green"),
    "warning": ("⚠", "yellow"),
    "error": ("✗", "red"),
    "failed": ("✗", "red"),
    "skipped": ("-", "quiet"),
}


@click.command(
    "doctor",
    short_help="Find what is wrong with the project of the current folder",
    epilog=examples("yard doctor", "yard doctor --fix", "yard doctor --json", "yard doctor --store --deep"),
)
@click.option("--fix", is_flag=True, help="Mend what can be mended: cog.yaml and the model's files are rewritten.")
@click.option("-f", "--file", metavar="FILE", help="The cog.yaml; else the one in this folder or above.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON too.")
@click.option("--store", is_flag=True, help="Look at what the registry of a running yard keeps instead.")
@click.option("--deep", is_flag=True, help="With --store: read every byte, not only sizes.")
@click.pass_obj
def command(talk: Talk, /, *, fix: bool, file: str | None, as_json: bool, store: bool, deep: bool) -> int:
    """Look for what is wrong with the project of the current folder, and say how to mend it.

    cog.yaml and the model's files are read, never run. --fix replaces old names by those of today and leaves the rest
    of each file as it is. Exit status 1 where an error is left, or mending failed; warnings alone give 0.

    With --store it is the yard that you are logged in to that is looked at: whether every version has its image, every
    image its layers, and the registry's lists agree with what lies on the disk. --fix then lists, forgets and removes
    what can be without loss. The yard goes on meanwhile; only its owner may ask.
    """
    if deep and not store:
        raise UsageError("--deep is for --store", hint=f"{program.name()} doctor --store --deep")
    if store:
        if file is not None:
            raise UsageError("--file and --store cannot be given together: one is of a project, one of a yard")
        return store_check.check(talk, deep=deep, fix=fix, as_json=as_json)
    return _project(talk, fix=fix, file=file, as_json=as_json)


def _project(talk: Talk, *, fix: bool, file: str | None, as_json: bool) -> int:
    # Of what a model's text has to be warned, Python tells its author, not whoever only reads it.
    warnings.simplefilter("ignore", SyntaxWarning)
    called = program.name()
    talk.say(f"NOTE: {called} doctor is experimental. Its checks and texts may change.")
    talk.say(f"Running {called} doctor{' --fix' if fix else ''}...")
    path = _path(file)
    environ = settings.environment()
    seen = machine.observe(environ, datetime.now(UTC).date())
    found: list[Result] = []
    for result in examine(lambda: case.read(path, seen, called, environ), fix=fix):
        if not found or found[-1].check.group != result.check.group:
            talk.say("")
            talk.say(talk.paint(result.check.group, "bold"))
        _tell(talk, result, fix)
        found.append(result)
    talk.say("")
    talk.say(_summary(found, fix, called))
    failed = any(result.failure or result.count("error") for result in found)
    if as_json:
        results.result_json(_document(path, found, ok=not failed))
    return 1 if failed else 0


def _path(file: str | None) -> Path:
    """The cog.yaml, whether it is there or not."""
    cwd = Path.cwd()
    try:
        where = config.find_file(cwd, file) if file else config.find(cwd)
    except (ConfigError, OSError):  # that it cannot be read is told by the first check
        return cwd / (file or config.FILE)
    return where / config.FILE if where.is_dir() else where


def _tell(talk: Talk, result: Result, fix: bool) -> None:
    mark, colour = _MARKS[result.state]
    more = f": {result.failure}" if result.failure else ": skipped" if result.left is None else ""
    talk.say(f"{talk.paint(mark, colour)} {result.check.about}{more}")
    for finding in result.fixed:
        talk.say(f"  {finding.text}")
    for old, new in result.renamed:
        talk.say(f"  {old} is now {new}")
    if result.fixed:
        talk.say(f"  Fixed: {result.check.name} ({result.check.about})")
    for finding in result.left or ():
        note = "note: " if finding.severity == "info" else ""
        talk.say(f"  {note}{finding.text}")
        if finding.severity != "info" and (fix or result.check.mend is None):
            talk.say(f"  {_remedy(finding)}")


def _remedy(finding: Finding) -> str:
    return f"Remediation: {finding.remedy}" if finding.remedy else "(no auto-fix available)"


def _summary(found: Sequence[Result], fix: bool, called: str) -> str:
    errors = sum(result.count("error") for result in found)
    doubtful = sum(result.count("warning") for result in found)
    fixed = sum(len(result.fixed) for result in found)
    left = ", ".join(_counted(count, noun) for count, noun in ((errors, "error"), (doubtful, "warning")) if count)
    if fixed:
        return f"Fixed {_counted(fixed, 'issue')}." + (f" {left} remaining." if left else "")
    if not left:
        return "no issues found"
    mendable = sum(result.count("error") + result.count("warning") for result in found if result.can_be_fixed)
    if fix or not mendable:
        return f"Found {left}."
    of_them = "" if mendable == errors + doubtful else f" (It can mend {mendable} of these.)"
    return f'Found {left}. Run "{called} doctor --fix" to auto-fix.{of_them}'


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _document(path: Path, found: Sequence[Result], *, ok: bool) -> dict[str, object]:
    return {
        "file": str(path),
        "ok": ok,
        "errors": sum(result.count("error") for result in found),
        "warnings": sum(result.count("warning") for result in found),
        "fixed": sum(len(result.fixed) for result in found),
        "checks": [result.to_json() for result in found],
    }
