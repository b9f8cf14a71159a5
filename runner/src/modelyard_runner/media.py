"""What a caller sends, as the values that `run()` is to receive: the way in of the bytes at the border.

Files come as URLs, as data URIs, or are on this disk already (`files` of a `predict` frame); a model finds each as
a file of its own under the prediction's folder, with a name that ends as the file's kind does.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import cog.patterns
import cog.types
from modelyard_runner.addresses import is_remote, texts
from modelyard_runner.folder import Folder

Fetch = Callable[[str, Callable[[str], str]], str]

# What a file's name ends with; the system's own table is asked only for others.
_ENDINGS = {
    "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif", "image/bmp": ".bmp",
    "image/tiff": ".tiff", "image/svg+xml": ".svg", "audio/mpeg": ".mp3", "audio/wav": ".wav", "audio/x-wav": ".wav",
    "audio/wave": ".wav", "audio/ogg": ".oga", "audio/webm": ".weba", "audio/opus": ".opus", "audio/flac": ".flac",
    "audio/mp4": ".m4a", "video/mp4": ".mp4", "video/mpeg": ".mpeg", "video/ogg": ".ogv", "video/webm": ".webm",
    "video/x-msvideo": ".avi", "video/quicktime": ".mov", "text/plain": ".txt", "text/html": ".html",
    "text/csv": ".csv", "text/markdown": ".md", "application/json": ".json", "application/pdf": ".pdf",
    "application/zip": ".zip", "application/gzip": ".gz", "application/x-tar": ".tar",
    "application/octet-stream": ".bin", "model/gltf-binary": ".glb", "model/obj": ".obj", "model/mtl": ".mtl",
}  # fmt: skip
_TYPES = {ending: kind for kind, ending in reversed(_ENDINGS.items())} | {
    ".jpeg": "image/jpeg", ".tif": "image/tiff", ".heic": "image/heic", ".avif": "image/avif", ".ogg": "audio/ogg",
    ".mkv": "video/x-matroska", ".yaml": "text/x-yaml", ".yml": "text/x-yaml", ".gltf": "model/gltf+json",
    ".stl": "model/stl",
}  # fmt: skip
_PARALLEL_FETCHES = 8
LONGEST_NAME = 200
_MAX_SHOWN = 200


class InputError(Exception):
    """An input that cannot be handed to the model. The text names it."""


class FetchError(Exception):
    """A URL or data URI whose bytes cannot be had. The text says why."""


def content_type(name: str) -> str:
    """The MIME type that a file's name speaks of: the same on every machine, whatever its own table says."""
    ending = name[name.rfind(".") :].lower() if "." in name else ""
    if ending in _TYPES:
        return _TYPES[ending]
    import mimetypes  # slow to load, and rarely needed

    return mimetypes.MimeTypes().guess_type(name)[0] or "application/octet-stream"


def ending_of(kind: str) -> str:
    """What the name of a file of this MIME type ends with; "" when nobody knows."""
    kind = kind.partition(";")[0].strip().lower()
    if not kind or kind in _ENDINGS:
        return _ENDINGS.get(kind, "")
    import mimetypes  # slow to load, and rarely needed

    return mimetypes.guess_extension(kind) or ""


class Inputs:
    """Turns the input of a prediction into keyword arguments, for one function of the model."""

    def __init__(self, signature: Any, fetch: Fetch) -> None:
        self._fields = tuple(signature.fields)
        self._convert = {field.name: _CONVERTERS[field.kind] for field in self._fields if field.kind in _CONVERTERS}
        for field in self._fields:
            if (members := field.innermost.enumeration) is not None:
                self._convert[field.name] = _as_member(members, self._convert.get(field.name, _as_it_is))
        self._files = {field.name for field in self._fields if field.kind in ("path", "file")}
        self._patterns = {
            field.name: re.compile(field.regex)
            for field in self._fields
            if field.regex is not None and cog.patterns.ecma(field.regex) is None
        }
        self._fetch = fetch

    def needs_files(self, values: Mapping[str, Any]) -> bool:
        """Whether something may have to be fetched or copied: work that can take long."""
        return bool(self._files) and any(values.get(name) is not None for name in self._files)

    def arguments(self, values: Mapping[str, Any], files: Mapping[str, str], folder: Folder) -> dict[str, Any]:
        """Keyword arguments: each parameter once, names that the function does not have left out. Raises InputError."""
        for name, pattern in self._patterns.items():
            _check_pattern(name, pattern, values.get(name))
        paths = self._bring(values, files, folder) if self._files else {}
        arguments: dict[str, Any] = {}
        for field in self._fields:
            name = field.name
            if name in values:
                value = values[name]
                convert = self._convert.get(name)
                arguments[name] = value if convert is None else _each(value, convert, paths)
            elif field.has_default:
                arguments[name] = _fresh(field.default)
            elif field.optional:
                arguments[name] = None
            else:
                raise InputError(f"input '{name}' is required")
        return arguments

    def _bring(self, values: Mapping[str, Any], files: Mapping[str, str], folder: Folder) -> dict[str, str]:
        """Brings the bytes of all file inputs to this disk; gives the path for each string that means a file."""
        wanted: dict[str, str] = {}
        for name in self._files:
            for text in texts(values.get(name)):
                if text in files or is_remote(text):
                    wanted.setdefault(text, name)
        paths: dict[str, str] = {}
        remote: list[tuple[str, str]] = []
        for text, name in wanted.items():
            if text in files:
                paths[text] = _take(files[text], text, name, folder)
            else:
                remote.append((text, name))
        if len(remote) == 1:
            self._fetch_one(remote, folder, paths)
        elif remote:
            self._fetch_all(remote, folder, paths)
        return paths

    def _fetch_all(self, remote: list[tuple[str, str]], folder: Folder, paths: dict[str, str]) -> None:
        errors: list[InputError] = []
        queue = list(reversed(remote))

        def work() -> None:
            try:
                while not errors:
                    self._fetch_one(queue, folder, paths)
            except IndexError:
                return
            except InputError as error:
                errors.append(error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_PARALLEL_FETCHES, len(remote)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _fetch_one(self, queue: list[tuple[str, str]], folder: Folder, paths: dict[str, str]) -> None:
        text, name = queue.pop()
        try:
            paths[text] = self._fetch(text, lambda filename: folder.new("inputs", filename))
        except (FetchError, OSError) as error:
            raise InputError(f"input '{name}' could not be fetched: {error}") from error


def _check_pattern(name: str, pattern: re.Pattern[str], value: Any) -> None:
    """What the schema had no words for, nobody has checked before."""
    unlike = next((text for text in texts(value) if not pattern.search(text)), None)
    if unlike is not None:
        raise InputError(f"input '{name}': {unlike[:_MAX_SHOWN]!r} does not match the pattern {pattern.pattern!r}")


def _each(value: Any, convert: Callable[[Any, Mapping[str, str]], Any], paths: Mapping[str, str]) -> Any:
    """Converts a value wherever it stands: alone, in a list, in an object."""
    if isinstance(value, list):
        return [_each(inner, convert, paths) for inner in value]
    if isinstance(value, dict):
        return {key: _each(inner, convert, paths) for key, inner in value.items()}
    return value if value is None else convert(value, paths)


def _fresh(value: Any) -> Any:
    """A default that a model may change without changing the next prediction's."""
    if isinstance(value, list):
        return [_fresh(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _fresh(inner) for key, inner in value.items()}
    return value


def _take(source: str, text: str, name: str, folder: Folder) -> str:
    """Makes a file that is on this disk the prediction's own, under the name that the caller gave it."""
    name_here = source.rpartition("/")[2]
    wanted = filename_of(text) if is_remote(text) else name_here
    if "." not in wanted and "." in name_here:  # models look at endings
        wanted += "." + name_here.rpartition(".")[2]
    target = folder.new("inputs", safe_name(wanted))
    try:
        folder.bring(source, target)
    except OSError as error:
        raise InputError(f"input '{name}' could not be read: {error.strerror or error}") from error
    return target


def filename_of(url: str) -> str:
    """The name of the file that a URL or a data URI speaks of."""
    if url[:5].lower() == "data:":
        return "file" + ending_of(url[5:].partition(",")[0].partition(";")[0] or "text/plain")
    from urllib.parse import unquote_plus, urlsplit  # slow to load, and only URLs need it

    return unquote_plus(urlsplit(url).path.rpartition("/")[2]) or "file"


def safe_name(name: str) -> str:
    """A name that is one name, and that file systems take."""
    name = name.replace("/", "_").replace("\0", "_")
    if len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        stem, dot, ending = name.rpartition(".")
        keep = ending[:20] if dot else ""
        name = (
            (stem or ending)
            .encode("utf-8", "replace")[: LONGEST_NAME - len(keep.encode()) - 2]
            .decode("utf-8", "ignore")
        )
        name += f"~.{keep}" if keep else "~"
    return "file" if name in ("", ".", "..") else name


def _as_it_is(value: Any, _: Mapping[str, str]) -> Any:
    return value


def _as_member(members: Any, convert: Callable[..., Any]) -> Callable[[Any, Mapping[str, str]], Any]:
    def member(value: Any, paths: Mapping[str, str]) -> Any:
        try:
            return members(convert(value, paths))
        except ValueError as error:
            raise InputError(str(error)) from None

    return member


def _as_int(value: Any, _: Mapping[str, str]) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_float(value: Any, _: Mapping[str, str]) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_secret(value: Any, _: Mapping[str, str]) -> Any:
    return cog.types.Secret(value) if isinstance(value, str) else value


def _as_path(value: Any, paths: Mapping[str, str]) -> Any:
    return cog.types.Path(paths.get(value, value)) if isinstance(value, str) else value


def _as_file(value: Any, paths: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return open(paths.get(value, value), "rb")  # noqa: PTH123 - the model's, closed with its last reference
    except OSError as error:
        raise InputError(f"an input file could not be opened: {error}") from error


_CONVERTERS: dict[str, Callable[[Any, Mapping[str, str]], Any]] = {
    "int": _as_int,
    "float": _as_float,
    "secret": _as_secret,
    "path": _as_path,
    "file": _as_file,
}
