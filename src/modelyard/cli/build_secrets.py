"""What somebody hands to the steps of a build: secrets by `--secret`, and what this machine needs to reach packages.

Nothing of either is in the image. What a secret's bytes are counts as an input: where they change, its steps run again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from modelyard.errors import UsageError
from modelyard.packaging.dockerfile import Lent
from modelyard.store import authorities, uv

_KEYS: Final = ("id", "src", "source", "env", "type")
_WANTED: Final = "wanted: id=NAME,src=FILE or id=NAME,env=VARIABLE"
# BuildKit takes no more for a secret.
_MOST_BYTES: Final = 500 * 1024
# What is below /dev in a container that builds is in none of its layers.
_PLACE: Final = "/dev/modelyard"
_AUTHORITIES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO")


class Secret(NamedTuple):
    """One that `--secret` names: in a file, or in a variable."""

    id: str
    source: str
    env: str

    def read(self, root: Path, environ: Mapping[str, str]) -> bytes:
        """Its bytes. Raises UsageError."""
        if self.env or (not self.source and environ.get(self.id) is not None):
            name = self.env or self.id
            if name not in environ:
                raise UsageError(f"--secret id={self.id}: the variable {name} is not set")
            return os.fsencode(environ[name])
        path = root / (self.source or self.id)
        try:
            return path.read_bytes()
        except OSError as error:
            raise UsageError(f"--secret id={self.id}: {path}: {error.strerror or error}") from None


def parse(text: str) -> Secret:
    """`id=NAME,src=FILE` or `id=NAME,env=VARIABLE`, as docker reads it. Raises UsageError."""
    found: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if key.strip() not in _KEYS or not equals:
            wrong = f"unexpected key '{key}' in '{part}'" if equals else f"{part!r} has no value"
            raise UsageError(f"--secret: {wrong}; {_WANTED}")
        if key.strip() == "type" and value.strip() not in ("file", "env"):
            raise UsageError(f"--secret: type is {value!r}; wanted: file or env")
        found[key.strip()] = value
    if "id" not in found:
        raise UsageError(f"--secret has no id; {_WANTED}")
    source, env = found.get("src", found.get("source", "")), found.get("env", "")
    if found.get("type") == "env" and source and not env:
        source, env = "", source  # docker reads it so
    return Secret(found["id"], source, env)


class Given(NamedTuple):
    """Secrets ready for docker: the values of its flag, and a digest of what is in them."""

    flags: tuple[str, ...]
    digest: str


@contextlib.contextmanager
def given(secrets: Sequence[Secret], root: Path, environ: Mapping[str, str]) -> Iterator[Given]:
    """Those of `--secret`, while this is held. Raises UsageError."""
    told = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="yard-secrets-") as folder:
        flags = []
        for number, secret in enumerate(secrets):
            data = secret.read(root, environ)
            told.update(f"{secret.id}\0{hashlib.sha256(data).hexdigest()}\0".encode())
            flags.append(_flag(secret.id, data, Path(folder) / str(number)))
        yield Given(tuple(flags), told.hexdigest() if secrets else "")


class Borrowed(NamedTuple):
    """What the machine lends: as the Dockerfile has it, and the values of docker's flag."""

    files: tuple[Lent, ...] = ()
    flags: tuple[str, ...] = ()


@contextlib.contextmanager
def borrowed(environ: Mapping[str, str], *, with_indexes: bool) -> Iterator[Borrowed]:
    """Files that steps need on this machine: the authorities that it trusts where it names them, and, `with_indexes`,
    what pip, uv and netrc know of package indexes. Raises NoCertificateError."""
    with tempfile.TemporaryDirectory(prefix="yard-lent-") as folder:
        files, flags = [], []
        for lent, data in _lent(environ, with_indexes=with_indexes):
            if 0 < len(data) <= _MOST_BYTES:
                files.append(lent)
                flags.append(_flag(lent.id, data, Path(folder) / lent.id))
        yield Borrowed(tuple(files), tuple(flags))


def _lent(environ: Mapping[str, str], *, with_indexes: bool) -> Iterator[tuple[Lent, bytes]]:
    told = uv.environment(environ)
    if told.get("SSL_CERT_FILE"):
        with authorities.bundle(told) as bundle:
            trusted = _bytes(bundle.get("SSL_CERT_FILE") or told["SSL_CERT_FILE"])
        yield Lent(id="modelyard-ca", target=f"{_PLACE}/ca.pem", variables=_AUTHORITIES), trusted
    if not with_indexes:
        return
    default, more = _indexes(told)
    if default or more:
        pip = "[global]\n" + (f"index-url = {default}\n" if default else "")
        pip += f"extra-index-url = {' '.join(more)}\n" if more else ""
        yield Lent(id="modelyard-pip", target=f"{_PLACE}/pip.conf", variables=("PIP_CONFIG_FILE",)), pip.encode()
        ours = f'index-url = "{default}"\n' if default else ""
        ours += "extra-index-url = [" + ", ".join(f'"{each}"' for each in more) + "]\n" if more else ""
        yield Lent(id="modelyard-uv", target=f"{_PLACE}/uv.toml", variables=("UV_CONFIG_FILE",)), ours.encode()
    netrc = environ.get("NETRC") or str(Path(environ.get("HOME") or Path("~").expanduser()) / ".netrc")
    yield Lent(id="modelyard-netrc", target=f"{_PLACE}/netrc", variables=("NETRC",)), _bytes(netrc)


def _indexes(told: Mapping[str, str]) -> tuple[str, list[str]]:
    """The index and the further ones that uv is told of and that are not on this machine's disk."""
    default = told.get("UV_DEFAULT_INDEX") or told.get("UV_INDEX_URL") or ""
    more = (told.get("UV_INDEX") or told.get("UV_EXTRA_INDEX_URL") or "").split()
    urls = [each.partition("=")[2] if "=" in each.partition("://")[0] else each for each in (default, *more)]
    first, *others = [each if each.startswith(("http://", "https://")) else "" for each in urls]
    return first, [each for each in others if each]


def _bytes(path: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(path).read_bytes()
    return b""


def _flag(identity: str, data: bytes, path: Path) -> str:
    """The value of docker's flag, for bytes that are in a file of ours meanwhile: a path of theirs may have commas."""
    path.touch(mode=0o600)
    path.write_bytes(data)
    return f"id={identity},src={path}"
