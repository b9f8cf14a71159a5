"""What people have told pip, in its files and variables, in the words of uv, which reads only its own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

# In pip's order: what stands in a later one wins.
_SECTIONS: Final = ("global", "install")
# Where uv has more than one name for a setting, the first of them is used, and any of them says that uv was told.
_NAMES: Final = {
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "constraint": ("UV_CONSTRAINT",),
    "pre": ("UV_PRERELEASE",),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "keyring-provider": ("UV_KEYRING_PROVIDER",),
    "client-cert": ("SSL_CLIENT_CERT",),
    "cert": ("SSL_CERT_FILE",),
    "proxy": ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
}
# Other programs' names for a file of certificates, after pip's.
_CERTIFICATES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_YES: Final = frozenset({"1", "true", "yes", "on", "y", "t"})


def read(environ: Mapping[str, str], *, system: Path = Path("/"), platform: str = sys.platform) -> dict[str, str]:
    """pip's settings by the names of its options (`index-url`): those of its files, then its `PIP_*` variables."""
    found: dict[str, str] = {}
    by_section = [_file(path) for path in _files(environ, system, platform)]
    for section in _SECTIONS:
        for sections in by_section:
            found |= sections.get(section, {})
    for name, value in environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value:
            found[_option(name[4:])] = value
    # The one option whose variable pip names otherwise.
    found.setdefault("timeout", found.get("default-timeout", ""))
    return {name: value for name, value in found.items() if value}


def faults(environ: Mapping[str, str], *, system: Path = Path("/"), platform: str = sys.platform) -> list[str]:
    """What is wrong with pip's files: each with its name. What stands in such a file counts for nothing."""
    found = []
    for path in dict.fromkeys(_files(environ, system, platform)):
        try:
            _parsed(path)
        except _UnreadableError as fault:
            found.append(f"{path}: {fault}")
    return found


def variables(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that tell uv the same, but for those that `environ` has for uv already."""
    found: dict[str, str] = {}
    for option, names in _NAMES.items():
        value = _value(option, settings.get(option, ""))
        if value and not any(environ.get(name) for name in names):
            found[names[0]] = value
            if option == "proxy" and not environ.get("http_proxy") and not environ.get("HTTP_PROXY"):
                found["HTTP_PROXY"] = value
    if "UV_INDEX" in found and not environ.get("UV_INDEX_STRATEGY"):
        # pip takes the best version of all indexes; uv by itself has all versions from the first that knows a package.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if not environ.get("SSL_CERT_FILE") and "SSL_CERT_FILE" not in found:
        named = next((environ[name] for name in _CERTIFICATES if environ.get(name)), None)
        found |= {"SSL_CERT_FILE": named} if named else {}
    return found


def flags(settings: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """What uv has no variable for."""
    found: list[str] = []
    told = any(environ.get(name) for option in ("index-url", "extra-index-url") for name in _NAMES[option])
    if settings.get("no-index", "").lower() in _YES and not told:
        found.append("--no-index")
    for option in ("no-binary", "only-binary"):
        for name in re.split(r"[\s,]+", settings.get(option, "").strip()):
            found += [f"--{option}", name] if name else []
    return found


def _value(option: str, text: str) -> str:
    parts = text.split()
    match option:
        case "find-links":
            # pip passes over folders that are not there, and uv does not.
            return ",".join(part for part in parts if _is_there(part))
        case "extra-index-url":
            return " ".join(part for part in parts if _is_there(part))
        case "trusted-host" | "constraint":
            return " ".join(parts)
        case "pre":
            return "allow" if text.lower() in _YES else ""
        case "keyring-provider":
            return text if text in ("subprocess", "disabled") else ""
        case "timeout":
            return text if re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) else ""
        case _:
            return text.strip()


def _is_there(place: str) -> bool:
    """Whether a place is on the net, or on this machine and there."""
    if "://" in place and not place.startswith("file://"):
        return True
    return Path(unquote(urlsplit(place).path) if place.startswith("file://") else place).expanduser().exists()


def _option(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


# The files


def _files(environ: Mapping[str, str], system: Path, platform: str) -> Iterator[Path]:
    """pip's files, those that win last: the machine's, the person's, the environment's, the one that is named."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    home = Path(environ.get("HOME") or Path("~").expanduser())
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    if platform == "darwin":
        yield system / "Library" / "Application Support" / "pip" / "pip.conf"
        own = home / "Library" / "Application Support" / "pip"
        config = own / "pip.conf" if own.is_dir() else config
    else:
        # Where the variable names none, it is this one (XDG base directories).
        named_folders = list(filter(None, environ.get("XDG_CONFIG_DIRS", "").split(os.pathsep)))
        for folder in named_folders or [str(system / "etc" / "xdg")]:
            yield Path(folder) / "pip" / "pip.conf"
        yield system / "etc" / "pip.conf"
    if not named or not Path(named).exists():
        yield home / ".pip" / "pip.conf"
        yield config
    if environ.get("VIRTUAL_ENV"):
        yield Path(environ["VIRTUAL_ENV"]) / "pip.conf"
    if named:
        yield Path(named)


class _UnreadableError(Exception):
    """A file that is there and cannot be read; the text says why."""


def _file(path: Path) -> dict[str, dict[str, str]]:
    """The options of a file by section. One that is not there or not to be read says nothing."""
    try:
        return _parsed(path)
    except _UnreadableError:
        return {}


def _parsed(path: Path) -> dict[str, dict[str, str]]:
    """The same; raises _UnreadableError for one that is there."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {}
    except OSError as error:
        raise _UnreadableError(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise _UnreadableError("it is not UTF-8 text") from None
    import configparser  # late: most machines have no such file

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        # Its text quotes the line, and a line may hold a password.
        line = getattr(error, "lineno", None) or next((line for line, _ in getattr(error, "errors", ())), None)
        where = f"line {line} " if line else ""
        raise _UnreadableError(f"{where}cannot be parsed ({type(error).__name__})") from None
    return {section: _options(parser.items(section)) for section in _SECTIONS if parser.has_section(section)}


def _options(items: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {_option(name): value for name, value in items if value}
