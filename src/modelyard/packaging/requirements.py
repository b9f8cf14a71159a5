"""A project's requirements as its author wrote them, made ready to be resolved, by the rules that Cog's users know."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelyard import errors
from modelyard.packaging.schema_source.modules import is_file
from modelyard.store.uv import masked

# Lines that carry a password do not travel: a version may be read by more people than its author's account.
# A name alone is none, unless it looks like a token.
_SECRET = re.compile(
    r"://(?:[^/\s@:]*:(?!\$\{[^}]*\}@)[^/\s@]+"
    r"|(?=[^/\s@]*[0-9])[\w-]{20,}"
    r"|(?:gh[a-z]|github_pat|glpat|hf|pypi)[_-][^/\s@]+)@"
)
_OURS = re.compile(r"(?:cog|coglet)(?:\[[^\]]*\])?\s*(?:$|[=<>!~;@ ])", re.IGNORECASE)
# The first words are Cog's, which scripts look for; the rest is what is so here.
_OVERRIDDEN = (
    "'{line}' found in requirements — overriding with latest cog from PyPI. Remove it from requirements and use "
    "build.sdk_version in cog.yaml or COG_SDK_WHEEL to control the version. (It is a line of {name}; here the `cog` "
    "of this yard always runs, and nothing is fetched for it.)"
)
_EDITABLE_PROJECT = re.compile(r"(?:-e|--editable)[ =]\.")
_COMMENT = re.compile(r"(?:^|\s+)#.*$")
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class RequirementsError(errors.Invalid):
    """The requirements cannot be used; the detail names the file and the line."""

    code = "requirements_invalid"
    title = "Requirements invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """`packages`: one requirement each; `options`: lines such as `--find-links …`; `files`: archives of the project.

    `name`: what the author wrote them in.
    """

    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    name: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """As a requirements file: what an author wrote in two ways that mean the same gives the same text."""
        return "".join(f"{line}\n" for line in (*self.options, *self.packages))


def read(root: Path, file: str | None, packages: Sequence[str] = ()) -> Requirements:
    """The requirements of the project at `root`: those of `file` (relative to it), else `packages`.

    Raises RequirementsError for a file that cannot be read, a nested `-r`, an archive that is not in the project, and a
    line with a password.
    """
    if file is None:
        return parse(packages, root=root, folder=root, name="build.python_packages")
    path = root / file
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RequirementsError(f"build.python_requirements: {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RequirementsError(f"build.python_requirements: {file}: it is not UTF-8 text") from None
    joined = re.sub(r"\\\r?\n", " ", text)
    return parse(joined.splitlines(), root=root, folder=path.parent, name=file)


def parse(lines: Sequence[str], *, root: Path, folder: Path, name: str) -> Requirements:
    """The same from lines; relative paths start from `folder`. Raises RequirementsError."""
    packages: list[str] = []
    options: list[str] = []
    files: list[Path] = []
    warnings: list[str] = []
    for line in _meaningful(lines):
        _check_secret(line, name)
        if line.startswith("-"):
            _check_option(line, name)
            options.append(line)
        elif _OURS.match(line):
            warnings.append(_OVERRIDDEN.format(line=masked(line), name=name))
        elif line.endswith(_ARCHIVES) and "://" not in line:
            archive = _archive(line, root, folder, name)
            files.append(archive)
            packages.append(f"./{archive.relative_to(root.resolve()).as_posix()}")
        else:
            packages.append(line)
    return Requirements(
        packages=tuple(packages),
        options=tuple(options),
        files=tuple(files),
        warnings=tuple(warnings),
        name=name,
    )


def _meaningful(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        bare = _COMMENT.sub("", line).strip()
        if bare and not _EDITABLE_PROJECT.fullmatch(bare):
            yield bare


def _check_option(line: str, name: str) -> None:
    if re.match(r"(?:-r|-c|--requirements?|--constraints?)\b", line):
        raise RequirementsError(
            f"{name}: {line!r}: a requirements file cannot name another one", hint="Put its lines in this file."
        )
    if re.match(r"(?:-e|--editable)\b", line):
        raise RequirementsError(
            f"{name}: {line!r}: a package cannot be installed editable in a version",
            hint="Name it plainly; the project's own folder can be imported from anyway.",
        )
    if re.match(r"(?:-f|--find-links)[ =]+(?![a-z+]+://|/|~|\$)", line):
        raise RequirementsError(
            f"{name}: {line!r}: a folder of the project is not looked through for packages",
            hint="Name the packages in it by their paths, a line each: ./wheels/NAME.whl",
        )


def _check_secret(line: str, name: str) -> None:
    if _SECRET.search(line):
        raise RequirementsError(
            f"{name}: a line holds a password, which everybody who can read the version would see",
            hint="Write it as ${NAME} and set NAME in the environment of the yard and of this command.",
        )


def _archive(line: str, root: Path, folder: Path, name: str) -> Path:
    path = (folder / line).resolve()
    if not path.is_relative_to(root.resolve()) or not is_file(path):
        raise RequirementsError(f"{name}: {line!r} is no file inside of the project")
    return path
