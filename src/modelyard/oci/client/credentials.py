"""Who one is at a registry: what Docker knows of it, in its file or by its helpers."""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.oci.client.reference import DEFAULT_REGISTRY

_HELPER_SECONDS = 30.0
# What Docker calls its own registry in its file.
_DOCKER_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
# The user's name with which a helper says that the secret is no password but a token to get others with.
_TOKEN_USER = "<token>"  # noqa: S105


class Access(NamedTuple):
    """A name and a password; or an identity token, to get others with; or, for a yard, its `url` and a token."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    token: str = ""
    url: str = ""

    @property
    def basic(self) -> str:
        """The header's value for a name and a password."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


Find = Callable[[str], Access | None]


def docker(environ: Mapping[str, str]) -> Find:
    """What Docker's configuration says of a registry. It is read when it is asked for the first time."""
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or Path("~").expanduser()) / ".docker")
    found: list[dict[str, Any]] = []

    def find(registry: str) -> Access | None:
        if not found:
            found.append(_read(folder / "config.json"))
        return _find(found[0], registry, environ)

    return find


def first_of(*finders: Find) -> Find:
    """The first that knows."""

    def find(registry: str) -> Access | None:
        return next((access for finder in finders if (access := finder(registry)) is not None), None)

    return find


def nobody(registry: str) -> Access | None:
    """Asks as nobody."""
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _find(config: dict[str, Any], registry: str, environ: Mapping[str, str]) -> Access | None:
    names = _DOCKER_HUB if registry == DEFAULT_REGISTRY else (registry, f"https://{registry}", f"http://{registry}")
    helpers = _object(config.get("credHelpers"))
    for name in names:
        if isinstance(helpers.get(name), str):
            return _helped(helpers[name], name, environ)
    if isinstance(config.get("credsStore"), str):
        for name in names:
            if access := _helped(config["credsStore"], name, environ):
                return access
    auths = _object(config.get("auths"))
    for name in names:
        for spelling in (name, f"{name}/", f"{name}/v1/", f"{name}/v2/"):
            if access := _stored(_object(auths.get(spelling))):
                return access
    return None


def _stored(entry: dict[str, Any]) -> Access | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            username, _, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
    identity = str(entry.get("identitytoken") or "")
    token = str(entry.get("registrytoken") or "")
    if not (username or identity or token):
        return None
    return Access(username=username, password=password.rstrip("\0"), identity_token=identity, token=token)


def _helped(helper: str, name: str, environ: Mapping[str, str]) -> Access | None:
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=name.encode(),
            capture_output=True,
            timeout=_HELPER_SECONDS,
            env=dict(environ),
            check=False,
        )
        found = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if not isinstance(found, dict) or not found.get("Secret"):
        return None
    username, secret = str(found.get("Username") or ""), str(found["Secret"])
    return Access(identity_token=secret) if username == _TOKEN_USER else Access(username=username, password=secret)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
