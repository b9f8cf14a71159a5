"""Values that come in and go out of a model: files, secrets, and streams of text."""

from __future__ import annotations

import binascii
import io
import os
import pathlib
import sys
import urllib.parse
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict, TypeVar, Union

from cog import errors
from cog.fields import Input

__all__ = [
    "AsyncConcatenateIterator",
    "CogBuildConfig",
    "CogConcurrencyConfig",
    "CogConfig",
    "ConcatenateIterator",
    "File",
    "Input",
    "Opaque",
    "Path",
    "Secret",
    "URLFile",
    "URLPath",
    "Weights",
    "get_filename",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Bytes of a file name taken from a URL; most file systems stop at 255, and a temporary name adds its own.
MAX_NAME_BYTES = 200
CONNECT_SECONDS = 10


class _InModels:
    """Lets a model of pydantic's, of either version, have fields of these types; pydantic itself is not needed."""

    __slots__ = ()

    @classmethod
    def __get_validators__(cls) -> Iterator[Any]:
        yield cls.validate  # type: ignore[attr-defined]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return {"type": "function-plain", "function": {"type": "no-info", "function": cls.validate}}  # type: ignore[attr-defined]

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> Any:
        return {"type": "string", "format": cls._format}  # type: ignore[attr-defined]

    @classmethod
    def __modify_schema__(cls, found: Any) -> None:
        found.update(type="string", format=cls._format)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Secret(_InModels):
    """A string that is shown as `**********`; `get_secret_value()` gives it."""

    secret_value: str | None = None
    _format: ClassVar[str] = "password"

    @classmethod
    def validate(cls, value: Any) -> Secret:
        """A secret as it is, and text as one."""
        return value if isinstance(value, Secret) else cls(value)

    def get_secret_value(self) -> str | None:
        """The string itself."""
        return self.secret_value

    def __str__(self) -> str:
        return "**********" if self.secret_value is not None else ""

    def __repr__(self) -> str:
        return f"Secret({self})"


class Path(pathlib.PosixPath, _InModels):
    """A file: as an input it is on disk before `run()` is called, as an output its bytes are sent to the caller."""

    _format: ClassVar[str] = "uri"

    @classmethod
    def validate(cls, value: Any) -> pathlib.Path:
        """A path as it is; a `data:` or `http(s):` URL as a `URLPath`, to be fetched later; other text as a path."""
        if isinstance(value, pathlib.Path):
            return value
        if _scheme(value) in ("data", "http", "https"):
            return URLPath(source=value, filename=get_filename(value), fileobj=File.validate(value))
        return cls(value)


class URLPath(pathlib.PosixPath):
    """A file behind a URL: `convert()` puts it on disk. `str()` gives the URL."""

    source: str
    filename: str
    fileobj: Any

    def __new__(cls, *, source: str, filename: str, fileobj: Any) -> URLPath:
        return super().__new__(cls, filename)

    def __init__(self, *, source: str, filename: str, fileobj: Any) -> None:
        if sys.version_info >= (3, 12):
            super().__init__(filename)
        self.source = source
        self.filename = filename
        self.fileobj = fileobj
        self._path: Path | None = None

    def convert(self) -> Path:
        """Fetch the file into a temporary one, once, and return its path. Raises OSError where that fails."""
        import shutil  # both load much that a model which fetches nothing would wait for at its start
        import tempfile

        if self._path is None:
            with tempfile.NamedTemporaryFile(suffix=self.filename, delete=False) as target:
                shutil.copyfileobj(self.fileobj, target)
            self._path = Path(target.name)
        return self._path

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove what `convert()` made."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def __str__(self) -> str:
        return self.source


class File(io.IOBase, _InModels):
    """An open file as an input. Deprecated in Cog in favour of `Path`."""

    _format: ClassVar[str] = "uri"

    @classmethod
    def validate(cls, value: Any) -> io.IOBase:
        """A file object as it is; a `data:` URL as bytes in memory; an `http(s):` URL as a `URLFile`.

        Raises ValueError for anything else.
        """
        if isinstance(value, io.IOBase):
            return value
        scheme = _scheme(value)
        if scheme == "data":
            return io.BytesIO(_data(value))
        if scheme in ("http", "https"):
            return URLFile(value)
        raise ValueError(f"{scheme!r} is not a valid URL scheme. 'data', 'http', or 'https' is supported.")


class URLFile(io.RawIOBase):
    """A file behind an `http(s):` URL, fetched as it is read. Can be pickled before its first read."""

    def __init__(self, url: str, filename: str | None = None) -> None:
        if _scheme(url) not in ("http", "https"):
            raise ValueError("URLFile requires URL to conform to HTTP or HTTPS protocol")
        super().__init__()
        self.url = url
        self.name = filename or get_filename(url)
        self._reply: Any = None

    def readable(self) -> bool:
        """Always True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes. Raises urllib.error.URLError, an OSError, where the URL cannot be fetched."""
        if self._reply is None:
            self._reply = self._open()
        return int(self._reply.readinto(buffer))

    def close(self) -> None:
        """Close the connection too."""
        reply, self._reply = getattr(self, "_reply", None), None
        if reply is not None:
            reply.close()
        super().close()

    def _open(self) -> Any:
        import urllib.request  # loads the whole HTTP and TLS stack; most models never open a URL themselves

        request = urllib.request.Request(self.url)  # noqa: S310 - checked in the constructor
        if agent := os.environ.get("COG_USER_AGENT"):
            request.add_header("User-Agent", agent)
        return urllib.request.urlopen(request, timeout=CONNECT_SECONDS)  # noqa: S310

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self.name)

    def __repr__(self) -> str:
        return f"<URLFile {self.url}>"


class ConcatenateIterator(Iterator[T_co]):
    """The return type of a generator whose pieces of text belong together: `-> ConcatenateIterator[str]`."""

    @abstractmethod
    def __next__(self) -> T_co: ...


class AsyncConcatenateIterator(AsyncIterator[T_co]):
    """The return type of such an asynchronous generator."""

    @abstractmethod
    async def __anext__(self) -> T_co: ...


class Opaque:
    """`Annotated[T, Opaque]`: T goes out as a JSON object and is not looked into."""


# What `setup(weights=...)` of older models is annotated with; it receives text.
Weights = Union[File, Path, str]  # noqa: UP007 - older code looks into it as a typing.Union


class CogBuildConfig(TypedDict, total=False):
    """`build` of cog.yaml, as older code annotates it."""

    cuda: str | None
    cudnn: str | None
    gpu: bool | None
    python_packages: list[str] | None
    python_requirements: str | None
    python_version: str | None
    run: list[Any] | None
    system_packages: list[str] | None


class CogConcurrencyConfig(TypedDict, total=False):
    """`concurrency` of cog.yaml."""

    max: int | None


class CogConfig(TypedDict, total=False):
    """The whole of cog.yaml."""

    build: CogBuildConfig
    concurrency: CogConcurrencyConfig
    image: str
    predict: str
    train: str


def __getattr__(name: str) -> Any:
    """The deprecated name, with one line on stderr at its first use."""
    if name != "ExperimentalFeatureWarning":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    errors.tell_deprecated(name)
    globals()[name] = errors.ExperimentalFeatureWarning
    return errors.ExperimentalFeatureWarning


def get_filename(url: str) -> str:
    """A file name for what a URL holds: the last part of its path, or `file` and the suffix of its media type."""
    if _scheme(url) == "data":
        import mimetypes  # late for the same reason as above

        media_type = url[5:].partition(",")[0].partition(";")[0] or "text/plain"
        return "file" + (mimetypes.guess_extension(media_type) or "")
    name = urllib.parse.unquote_plus(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    name = name.replace("\0", "_").replace("/", "_")
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - it is no path
    suffix = suffix.encode()[:20].decode(errors="ignore")
    room = MAX_NAME_BYTES - len(suffix.encode()) - 1
    return stem.encode()[:room].decode(errors="ignore") + "~" + suffix


def _scheme(value: Any) -> str:
    return urllib.parse.urlsplit(value).scheme if isinstance(value, str) else ""


def _data(url: str) -> bytes:
    """The bytes in a `data:` URL. Raises ValueError where it has no comma or its base64 is broken."""
    head, comma, body = url[5:].partition(",")
    if not comma:
        raise ValueError("a data: URL needs a comma between its media type and its data")
    if head.endswith(";base64"):
        return binascii.a2b_base64(urllib.parse.unquote(body))
    return urllib.parse.unquote_to_bytes(body)
