"""From what an author requires to a lock: every package pinned and hashed, resolved once for the same inputs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from modelyard import errors
from modelyard.packaging import box, brought, requirements
from modelyard.packaging.config import Config
from modelyard.packaging.requirements import Requirements
from modelyard.packaging.schema_source import elsewhere
from modelyard.store import archives, environments, pip_settings, pythons
from modelyard.store.environments import Lock
from modelyard.store.uv import Report, Uv, UvError, choices

# Where a project keeps what can be made again at any time; it never goes into a version.
CACHE_FOLDER = ".cog"
# Cog's own name: a build of either keeps the other waiting.
LOCK = "cog.lock"
# Where Cog leaves the schema of what it built, for whoever reads it there.
SCHEMA = "openapi_schema.json"

# uv's own variable; a mirror inside of a company has torch as it is on the public index, so nothing is done unasked.
TORCH = "UV_TORCH_BACKEND"

# Changed when a lock made from the same inputs would come out otherwise.
_FORMAT = "1"

ensure = environments.ensure


class ResolveError(errors.Invalid):
    """The requirements have no solution, or the index does not answer; the detail has uv's words."""

    code = "resolve_failed"
    title = "The requirements could not be resolved"


def resolve(
    config: Config,
    root: Path,
    python: str,
    *,
    environ: Mapping[str, str],
    report: Report | None = None,
    in_image: bool = False,
) -> Lock:
    """The lock of the project at `root` for the Python minor `python` (`3.12`).

    It holds on every platform (`uv pip compile --universal`), has a hash for every file that the index offers, and
    names no index but those that the author's own lines name. Kept in the project's `.cog` folder under a hash of what
    went in, with what uv and pip are told: the same inputs start no process. Where this machine has no such Python and
    can get none, the lock is made for the nearest one, unless it is for an image, which has its own (`in_image`).
    Raises ResolveError, RequirementsError, NoPythonError.
    """
    wanted = requirements.read(root, config.python_requirements, config.python_packages)
    say = report or (lambda _: None)
    for warning in (*wanted.warnings, *box.check_wheels(environ, root)):
        say(f"warning: {warning}")
    cache = cache_folder(root)
    if not in_image:
        found = pythons.find(python, environ, memory=cache / "pythons.json", report=say)
        if found.warning:
            say(f"warning: {found.warning}")
        python = found.minor
    missing = brought.packages(config, root, wanted.packages, newer=parser(config, root, environ, report))
    wanted = replace(wanted, packages=(*wanted.packages, *missing))
    if not wanted.packages:
        return Lock(text="", python=python)
    builds = _builds(config, wanted, environ)
    chosen = choices(environ) + (f"\n{builds}" if builds else "")
    kept = cache / "locks" / f"{_key(wanted, root, python, chosen)}.txt"
    text = _kept(kept)
    if text is None:
        with building(root, say):
            text = _kept(kept)  # whoever held the lock may have made it
            if text is None:
                text = _made(kept, wanted, missing, python, root=root, environ=environ, say=say, builds=builds)
    return Lock(text=text, python=python)


@contextmanager
def building(root: Path, report: Report | None = None) -> Iterator[None]:
    """While something of the project's `.cog` folder is made; one process at a time, the others wait and say so."""
    say = report or (lambda _: None)
    with environments.locked(cache_folder(root) / LOCK, say, "Waiting for another command that builds in this folder"):
        yield


def _kept(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _made(
    kept: Path,
    wanted: Requirements,
    missing: Sequence[str],
    python: str,
    *,
    root: Path,
    environ: Mapping[str, str],
    say: Report,
    builds: str | None,
) -> str:
    if missing:
        say(f"Not in the requirements, but used, and brought along by Cog: {', '.join(missing)}")
        say("Name it there to choose its version.")
    for fault in pip_settings.faults(environ):
        say(f"warning: pip's settings are passed over: {fault}")
    say(f"Resolving {len(wanted.packages)} requirement{'s' * (len(wanted.packages) != 1)}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    source = kept.with_suffix(".in")
    uv = Uv(environ=environ)
    try:
        with archives.readable(wanted.text, root) as lines:
            source.write_text(lines.text)
            text = lines.undone(_compile(wanted, source, python, cwd=root, uv=uv, report=say, builds=builds))
    except archives.ArchiveError as error:
        raise ResolveError(str(error)) from None
    partial = kept.with_suffix(".tmp")
    partial.write_text(text)
    partial.replace(kept)
    return text


def parser(
    config: Config, root: Path, environ: Mapping[str, str], report: Report | None = None
) -> elsewhere.Newer | None:
    """What reads the files of a project for a newer Python than ours; None for others."""
    if not elsewhere.is_newer(config.python_version):
        return None
    return elsewhere.Newer(config.python_version, environ, cache_folder(root) / "pythons.json", report)


def cache_folder(root: Path) -> Path:
    """The project's `.cog` folder, made now if need be and hidden from git."""
    folder = root / CACHE_FOLDER
    if not (folder / ".gitignore").exists():
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
    return folder


def leave_schema(root: Path, text: str) -> None:
    """Leave the schema of what is built where Cog does; untouched where it is the same."""
    path = cache_folder(root) / SCHEMA
    if _kept(path) != text:
        path.write_text(text, encoding="utf-8")


def _key(wanted: Requirements, root: Path, python: str, chosen: str) -> str:
    parts = (_FORMAT, python, wanted.text, *([chosen] if chosen else []))
    found = hashlib.sha256("\0".join(parts).encode())
    for file in wanted.files:
        stat = file.stat()
        found.update(f"\0{file.relative_to(root.resolve())}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
    return found.hexdigest()[:32]


def _builds(config: Config, wanted: Requirements, environ: Mapping[str, str]) -> str | None:
    """The builds of torch that somebody asks for."""
    if not environ.get(TORCH):
        return None
    from modelyard.packaging.compatibility import wheels  # late: only who asks pays for the tables

    return wheels.backend(environ[TORCH], wanted.packages, gpu=config.gpu, cuda=config.cuda)


def _compile(
    wanted: Requirements, source: Path, python: str, *, cwd: Path, uv: Uv, report: Report, builds: str | None
) -> str:
    arguments = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
    arguments += ["--no-emit-index-url", "--python-version", python, str(source)]
    arguments += ["--torch-backend", builds] if builds else []
    arguments += environments.index_strategy("\n".join(wanted.options), uv.environ)
    try:
        text = uv.run([*arguments, "--universal"], cwd=cwd)
    except UvError as first:
        # A package that exists for this platform alone has no solution for all of them.
        try:
            text = uv.run(arguments, cwd=cwd)
        except UvError:
            words = _of_the_author(first.detail.removeprefix("error: "), source, wanted)
            hint = environments.index_hint(words) or "Correct the requirements that the message names."
            raise ResolveError(words, hint=hint) from None
        report("warning: these requirements have a solution for this platform only; other machines may not run it")
    text = without_passwords(text, wanted.text, uv.environ)
    options = list(wanted.options)
    if builds:
        from modelyard.packaging.compatibility import wheels  # late, as above

        options += wheels.options(builds, text)
    return "".join(f"{line}\n" for line in options) + text


def _of_the_author(words: str, source: Path, wanted: Requirements) -> str:
    """What uv says, of the file that the author wrote in place of the one that was made of it for uv."""
    # uv begins a new line before a long path.
    shown = re.compile(rf"\s+`[^`]*{re.escape(source.name)}`(?:\s+at\s+position\s+(\d+))?")

    def named(match: re.Match[str]) -> str:
        if match[1] is None:
            return f" {wanted.name}"
        text = source.read_bytes()
        line = text[: int(match[1])].count(b"\n")
        return f" {wanted.name}, in the line {text.splitlines()[line].decode()!r}"

    return shown.sub(named, words)


def without_passwords(lock: str, wanted: str, environ: Mapping[str, str]) -> str:
    """The lock with `${NAME}` where the requirements have it in an address and uv has put its value."""
    for name in re.findall(r"\$\{(\w+)\}", wanted):
        value = environ.get(name)
        for shown in {value, quote(value, safe="")} if value else ():
            lock = re.sub(rf"(?<=[:/]){re.escape(shown)}(?=[:@])", f"${{{name}}}", lock)
    return lock
