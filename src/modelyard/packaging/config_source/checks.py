"""The rules of single values in cog.yaml: each takes a text and says what is wrong with it, or gives what it means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from modelyard import timeouts

# The oldest Python that the half in the box runs on.
MINIMUM_PYTHON: Final = (3, 10)
MINIMUM_CUDA: Final = 11

_PYTHON = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?\Z")
_CUDA = re.compile(r"(\d+)\.(\d+)(?:\.\d+)?\Z")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=", re.ASCII)
_RESERVED: Final = frozenset(
    {
        "HF_ENDPOINT",
        "HF_HUB_ENABLE_HF_TRANSFER",
        "LD_LIBRARY_PATH",
        "LIBRARY_PATH",
        "PATH",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "VIRTUAL_ENV",
    }
)
_RESERVED_PREFIXES: Final = ("R8_", "REPLICATE_", "CUDA_", "NVIDIA_", "NV_", "PGET_", "KUBERNETES_", "MODELYARD_")
# Folders without which nothing runs: a weight may lie in most of them, and in place of none.
_SYSTEM: Final = re.compile(
    r"/(bin|boot|dev|etc|home|lib|lib32|lib64|libx32|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)\Z"
    r"|/usr/(bin|lib|lib32|lib64|libexec|local|sbin|share)\Z"
)
_WEIGHT_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*\Z")
_REFERENCE = re.compile(r"[^:]+\.py:[^\W\d]\w*\Z")
_SDK_VERSION = re.compile(
    r"(\d+!)?\d+(\.\d+)*((a|b|c|rc|alpha|beta|pre|preview)\d*)?([.-]?(post|dev)\d*)*(\+[\w.]+)?\Z"
)
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][\w.-]*\s*(\[[^\]]*\])?\s*"
    r"\(?\s*((===|==|~=|!=|<=|>=|<|>)\s*[^\s,;()=<>!~]+\s*,?\s*)*\)?\s*(;.*)?\Z"
)
_ARCHIVES: Final = (".whl", ".zip", ".gz", ".tgz", ".bz2", ".xz")
_AS_PIP = 'a name, and a version where it matters: "numpy==2.3.4"'
_REPOSITORY = re.compile(r"[^\s@]+\Z")


class Refused(Exception):
    """A value that breaks a rule: the reason, and a next step."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def boolean(text: str) -> bool:
    """`true` and `false`, and the other spellings that YAML has for them."""
    if text.lower() in ("true", "yes", "on"):
        return True
    if text.lower() in ("false", "no", "off"):
        return False
    raise Refused("must be true or false")


def whole_number(text: str) -> int:
    """A count from 1 up."""
    if not re.fullmatch(r"[+-]?\d{1,9}", text):
        raise Refused("must be a whole number")
    if int(text) < 1:
        raise Refused("must be at least 1")
    return int(text)


def requirement(text: str) -> str:
    """A line as pip reads it. What is surely none is refused; options, paths and addresses are read elsewhere."""
    line = re.sub(r"(?:^|\s+)#.*$", "", text).strip()
    elsewhere = line.startswith("-") or line.endswith(_ARCHIVES) or re.search(r"[/\\$@]|\s--", line)
    if not line or elsewhere or _REQUIREMENT.match(line):
        return text
    single = re.match(r"([\w.-]+)\s*=\s*([\w.]+)\s*\Z", line)
    raise Refused("is no requirement as pip reads it", f'write "{single[1]}=={single[2]}"' if single else _AS_PIP)


def python_version(text: str) -> tuple[str, str | None]:
    """The minor to use, and a warning where that is another one than what is written."""
    match = _PYTHON.match(text)
    if match is None:
        example = 'python_version: "3.12"'
        if not re.match(r"\d+(\.|\Z)", text):
            raise Refused("invalid major version number", f"write {example}")
        raise Refused("must include major and minor version (e.g., '3.11')", f"write {example}")
    version = int(match[1]), int(match[2])
    least = ".".join(map(str, MINIMUM_PYTHON))
    if version[0] < MINIMUM_PYTHON[0]:
        raise Refused(f"minimum supported Python version is {least}", 'write python_version: "3.12"')
    if version[0] > MINIMUM_PYTHON[0]:
        raise Refused(f"must be a version of Python 3, from {least} up", 'write python_version: "3.12"')
    if version < MINIMUM_PYTHON:
        return least, f"minimum supported Python version is {least}; {least} is used instead of {text}"
    return f"{version[0]}.{version[1]}", None


def cuda(text: str) -> str:
    """`11.8`, or `11.8.0`."""
    match = _CUDA.match(text)
    if match is None:
        raise Refused("must include both major and minor versions (e.g., '11.8')")
    if int(match[1]) < MINIMUM_CUDA:
        raise Refused(f"minimum supported CUDA version is {MINIMUM_CUDA}")
    return text


def cudnn_for(cuda_version: str, text: str) -> str:
    """A cuDNN that exists for that CUDA."""
    from modelyard.packaging.compatibility import tables  # late: few projects name one

    compatible = tables.cudnn_of(cuda_version)
    if text.partition(".")[0] not in compatible:
        known = ", ".join(compatible)
        raise Refused(f"CUDA {cuda_version} is incompatible with CuDNN {text}: compatible CuDNN versions are: {known}")
    return text


def reference(text: str, example: str) -> str:
    """`run.py:Runner`, a file below the project and a name in it."""
    if text.count(".py:") != 1 or not _REFERENCE.match(text):
        raise Refused(
            f"must be in the form '{example}'", "name a file of the project, a colon, and a class or function"
        )
    if text.startswith("/") or ".." in text.partition(":")[0].split("/"):
        raise Refused("must name a file inside the project", "write the path relative to cog.yaml")
    return text


def sdk_version(text: str) -> str:
    """A version by Python's rules, or `prerelease`."""
    if text != "prerelease" and not _SDK_VERSION.match(text):
        raise Refused("must be a version such as '0.23.1', or 'prerelease'")
    return text


def command(text: str) -> str:
    """A shell command on one line."""
    if "\n" in text.strip():
        raise Refused(
            "One of the commands in 'run' contains a new line, which won't work.",
            "make it several items of the list, or fold it with >-",
        )
    return text.strip()


def repository(text: str) -> str:
    """Where a model is pushed to, without tag or digest."""
    if not _REPOSITORY.match(text) or ":" in text.rpartition("/")[2]:
        raise Refused("must be a bare repository — tags and digests are not allowed", "write owner/name")
    return text


def environment(text: str, taken: Sequence[str]) -> str:
    """`KEY=VALUE`; `taken`: the names before it."""
    if not _ENVIRONMENT.match(text):
        raise Refused(f'environment variable "{text}" is not in the KEY=VALUE format')
    name = text.partition("=")[0]
    if name == timeouts.RUN:
        _run_timeout(text.partition("=")[2])
    elif name in _RESERVED or name.startswith(_RESERVED_PREFIXES):
        raise Refused(f'environment variable "{name}" is not allowed: reserved for internal use')
    if name in taken:
        raise Refused(f'environment variable "{name}" is already defined')
    return text


def _run_timeout(value: str) -> None:
    if not timeouts.is_seconds(value):
        raise Refused(f"{timeouts.RUN} is {value!r}; wanted: {timeouts.WANTED}")


def setup_timeout(text: str) -> str | None:
    """What to tell of a `COG_SETUP_TIMEOUT=VALUE` that Cog takes for none."""
    name, _, value = text.partition("=")
    if name != timeouts.SETUP or timeouts.is_seconds(value):
        return None
    return f"{name} is {value!r}, which is no limit; wanted: {timeouts.WANTED}"


def weight_name(text: str) -> str:
    """Small letters and digits, with single `.`, `_` or `-` between them."""
    if not _WEIGHT_NAME.match(text):
        raise Refused("must be small letters and digits, with single '.', '_' or '-' between them")
    return text


def weight_target(text: str, taken: Sequence[str]) -> str:
    """An absolute folder that is no other weight's and in none."""
    clean = "/" + "/".join(part for part in text.split("/") if part)
    if not text.startswith("/") or ".." in text.split("/"):
        raise Refused("must be an absolute path", "as /src/weights/NAME")
    if clean == "/":
        raise Refused("must not be the root folder")
    if clean == "/src":
        raise Refused("would cover the project, which the model sees as /src", "as /src/weights/NAME")
    if _SYSTEM.match(clean):
        raise Refused(f"would cover {clean}, which belongs to the system", "as /src/weights/NAME, or /models/NAME")
    for other in taken:
        if clean == other or clean.startswith(other + "/") or other.startswith(clean + "/"):
            raise Refused(f'target overlaps with "{other}"; weight targets must be disjoint')
    return clean


def weight_uri(text: str) -> str:
    """`hf://org/repo`, `https://…`, `file://…` or a path."""
    scheme, colon, rest = text.partition("://")
    if colon and scheme not in ("hf", "file", "https", "http"):
        raise Refused(
            f"scheme {scheme!r} is not known", "write hf://org/repo[@revision], https://…, file://… or a path"
        )
    if scheme == "hf" and colon and not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", rest):
        raise Refused("must be in the form hf://org/repo or hf://org/repo@revision")
    return text


def pattern(text: str) -> str:
    """A pattern as in .gitignore, without its negation."""
    if not text.strip():
        raise Refused("must not be empty")
    if text.startswith("!"):
        raise Refused("must not begin with '!'", "put it into `include` or `exclude` instead")
    if "\\" in text:
        raise Refused("must not contain a backslash")
    return text
