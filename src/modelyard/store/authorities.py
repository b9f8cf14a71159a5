"""Cog's own variable for a certificate authority: a file, a folder, or the certificate itself."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "COG_CA_CERT"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class NoCertificateError(ValueError):
    """The variable's value is nothing of what it may be."""


@contextlib.contextmanager
def bundle(environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The variable `SSL_CERT_FILE` for a program that should trust the authority too, while this is held.

    It names a file with what is trusted anyway and the authority; empty where nobody names one. Raises
    NoCertificateError.
    """
    own = certificates(environ)
    if not own:
        yield {}
        return
    with tempfile.NamedTemporaryFile("w", prefix="yard-ca-", suffix=".pem") as file:
        file.write(trusted(environ) + "\n" + own + "\n")
        file.flush()
        yield {"SSL_CERT_FILE": file.name}


def certificates(environ: Mapping[str, str]) -> str:
    """The certificates that the variable has or names; "" where it is not set. Raises NoCertificateError."""
    value = environ.get(VARIABLE, "")
    if not value.strip():
        return ""
    if _CERTIFICATE.search(value):
        return value
    found = _from_disk(Path(value)) if "\n" not in value and len(value) < 4096 else ""
    if not found:
        with contextlib.suppress(binascii.Error, ValueError):
            found = base64.b64decode("".join(value.split()), validate=True).decode("ascii")
    own = _CERTIFICATE.findall(found)  # a folder may hold keys, too
    if not own:
        raise NoCertificateError(
            f"{VARIABLE}: invalid value - must be a file path, directory, PEM certificate, or base64-encoded PEM"
        )
    return "\n".join(own)


def _from_disk(path: Path) -> str:
    try:
        if path.is_dir():
            files = sorted(each for each in path.iterdir() if each.suffix in (".crt", ".pem"))
            return "\n".join(each.read_text(encoding="ascii") for each in files)
        return path.read_text(encoding="ascii") if path.is_file() else ""
    except (OSError, ValueError):
        return ""


def trusted(environ: Mapping[str, str]) -> str:
    """What programs trust here without the variable: the text of that file."""
    path = environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace") if path else ""
    except OSError:
        return ""
