"""Posting to addresses that callers gave: no redirects, no private networks unless the yard allows them."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_SECONDS = 10
MOST_AT_ONCE = 64
_MOST_PER_HOST = 8


class Poster:
    """Posts a body; follows no redirect, and reaches private networks only if it may."""

    def __init__(self, private_addresses: bool) -> None:
        self._private = private_addresses
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int | None, str | None]:
        """The status that came back, if any, and what is wrong with it, if something is."""
        # Most yards send no webhook: the HTTP client's memory is taken when there is one.
        import aiohttp

        session = self._session = self._session or self._open()
        try:
            if not self._private:
                await _refuse_private(url)
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                good = 200 <= answer.status < 300
                return answer.status, None if good else f"the receiver answered {answer.status}"
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            return None, f"{type(error).__name__}: {error}"[:500]

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        resolver = None if self._private else _public_resolver()
        connector = aiohttp.TCPConnector(limit=MOST_AT_ONCE, limit_per_host=_MOST_PER_HOST, resolver=resolver)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"user-agent": "modelyard-webhook"})

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def is_public(address: str) -> bool:
    """Is this an IP address of the public internet?"""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast


async def _refuse_private(url: str) -> None:
    # The client does not ask its resolver about addresses that are written as numbers.
    host = urlsplit(url).hostname or ""
    try:
        good = is_public(host)
    except ValueError:
        return
    if not good:
        raise OSError(f"{host} is not an address of the public internet")


def _public_resolver() -> aiohttp.abc.AbstractResolver:
    import aiohttp

    class PublicResolver(aiohttp.ThreadedResolver):
        """Names of hosts as the system resolves them, private addresses left out."""

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[aiohttp.abc.ResolveResult]:
            found = [result for result in await super().resolve(host, port, family) if is_public(result["host"])]
            if not found:
                raise OSError(f"{host} has no address of the public internet")
            return found

    return PublicResolver()
