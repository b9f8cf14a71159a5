"""The yard's own TLS: its certificate and key, checked before anything starts and taken up again when renewed.

Whoever renews certificates writes two files, one after the other: between them they do not fit together. So a pair is
tried in a context of its own first, and the one that clients meet changes only when the pair is whole.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.errors import UsageError

log = logging.getLogger(__name__)

# The files are looked at this often; a hang-up signal has them read at once.
LOOK_SECONDS = 10.0


class _Current(ssl.SSLContext):
    """What a server is given once: each connection gets the context that is current when it comes."""

    current: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        return self.current.wrap_bio(*arguments, **options)

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        return self.current.wrap_socket(*arguments, **options)


class Certificate:
    """A certificate chain and its key, both PEM files. Raises UsageError for a pair that cannot be used.

    `context` is what a server speaks TLS with; what is taken up later is for connections that come then.
    `expires_at`: seconds since 1970.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self._seen = self._state()
        self.context = _Current(ssl.PROTOCOL_TLS_SERVER)
        self.expires_at = 0.0
        self._load()

    def renew(self) -> bool:
        """Take up what the files hold now; was there anything new? Raises UsageError, and the old pair stays."""
        seen = self._state()
        if seen == self._seen:
            return False
        self._seen = seen
        self._load()
        return True

    def _load(self) -> None:
        # Files may change at any step of this; what is used is what was loaded whole.
        found = _context(self._chain, self._key)
        self.expires_at = _expiry(self._chain)
        self.context.current = found

    async def watch(self, asked: asyncio.Event, *, every: float = LOOK_SECONDS) -> None:
        """Take up what is renewed, until cancelled; at once when `asked` is set."""
        while True:
            try:
                async with asyncio.timeout(every):
                    await asked.wait()
            except TimeoutError:
                pass
            asked.clear()
            try:
                if self.renew():
                    log.info("the certificate %s was renewed", self._chain)
            except UsageError as error:
                log.warning("a renewed certificate cannot be used, the one before stays: %s", error)

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(self._chain), _stamp(self._key)]


def certificate(chain: Path | None, key: Path | None) -> Certificate | None:
    """The certificate that the settings name; None where they name none. Raises UsageError."""
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        given, missing = ("tls_key", "tls_cert") if chain is None else ("tls_cert", "tls_key")
        raise UsageError(
            f"{given} is set and {missing} is not; a yard that speaks TLS needs both",
            hint="--tls-cert is the certificate with its chain, --tls-key its private key, both as PEM files",
        )
    return Certificate(chain, key)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ino, facts.st_size


class _Encrypted(Exception):
    """The key wants a password."""


def _no_password() -> str:
    # Without this, the library asks for it at the terminal, and a service waits for ever.
    raise _Encrypted


def _context(chain: Path, key: Path) -> ssl.SSLContext:
    for name, path in (("tls_cert", chain), ("tls_key", key)):
        _readable(name, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(chain, key, password=_no_password)
    except _Encrypted:
        raise UsageError(
            f"tls_key: {key} is encrypted with a password",
            hint="a yard starts without anybody there to type it; decrypt it: `openssl pkey -in KEY -out PLAIN`",
        ) from None
    except ssl.SSLError as error:
        raise _does_not_fit(error, chain, key) from None
    except OSError as error:
        raise UsageError(f"tls_cert and tls_key cannot be read: {error.strerror or error} ({chain}, {key})") from None
    return context


def _does_not_fit(error: ssl.SSLError, chain: Path, key: Path) -> UsageError:
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return UsageError(
            f"tls_key: {key} is not the key of the certificate in {chain}",
            hint="the certificate itself stands first in tls_cert, those that vouch for it below",
        )
    # Which of the two it is, the library does not say.
    for name, path, mark in (("tls_cert", chain, "CERTIFICATE-----"), ("tls_key", key, "PRIVATE KEY-----")):
        if mark not in _text(path):
            what = "certificate" if name == "tls_cert" else "private key"
            return UsageError(
                f"{name}: {path} holds no {what} in PEM form",
                hint=f"such a file has a line that ends in {mark}; `openssl` turns other forms into it",
            )
    return UsageError(f"tls_cert and tls_key cannot be used: {error.reason or error} ({chain}, {key})")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise UsageError(
            f"{name}: {path} cannot be read: {error.strerror or error}", hint="the yard's user must be able to read it"
        ) from None


def _expiry(chain: Path) -> float:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(chain.read_bytes())[0].not_valid_after_utc.timestamp()
    except (ValueError, OSError) as error:
        raise UsageError(f"tls_cert: {chain} cannot be understood: {error}") from None


def warn_of_expiry(found: Certificate, now: float, report: Callable[[str], None]) -> None:
    """Say so where it has expired, or will within two weeks. `now`: seconds since 1970."""
    days = (found.expires_at - now) / 86400
    if days < 0:
        report("The certificate has expired: browsers and clients will refuse it. Renew it; the yard takes it up.")
    elif days < _WARN_DAYS:
        report(f"The certificate expires in {days:.0f} days.")


_WARN_DAYS = 14
