"""Which repository and tag a model has: cog.yaml's `model`, and the variables that stand above it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from modelyard.errors import UsageError
from modelyard.oci.client.reference import DEFAULT_REGISTRY, Reference, check_repository, check_tag, is_host, parse

WHOLE: Final = "COG_MODEL"
PARTS: Final = ("COG_MODEL_REGISTRY", "COG_MODEL_REPO", "COG_MODEL_TAG")
_MODEL: Final = "`model` of cog.yaml"


def is_given(environ: Mapping[str, str]) -> bool:
    """Does any of the variables say something?"""
    return any(environ.get(name) for name in (WHOLE, *PARTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The yard that one is logged in to: `host`, and the hosts that mean it too, as a push takes them."""

    host: str
    also: frozenset[str] = frozenset()


def resolve(model: str | None, environ: Mapping[str, str], home: Home | None = None) -> Reference:
    """What `model` of cog.yaml and the variables mean together; a `model` without a host is at `home`, if there is one.

    Raises UsageError.
    """
    if environ.get(WHOLE):
        return parse(environ[WHOLE], WHOLE)
    registry, repository, tag = (environ.get(name) for name in PARTS)
    if model is None and not repository:
        raise UsageError("cog.yaml says no `model`", hint="add `model: HOST/owner/name`, or set COG_MODEL")
    base = _at_home(parse(model, _MODEL), model, home) if model is not None else None
    if registry and not is_host(registry):
        raise UsageError(f"{PARTS[0]} is {registry!r}; wanted: HOST or HOST:PORT, such as registry.example.org")
    if tag:
        check_tag(tag, PARTS[2])
    if repository:
        check_repository(repository, PARTS[1])
    return Reference(
        registry=registry or (base.registry if base else DEFAULT_REGISTRY),
        repository=repository or (base.repository if base else ""),
        tag=tag or (base.tag if base else None),
        implied=not registry and (base is None or base.implied),
    )


def _at_home(named: Reference, text: str, home: Home | None) -> Reference:
    if home is None or not (named.implied or named.registry in home.also):
        return named
    if named.repository.count("/") != 1:
        raise UsageError(
            f"{_MODEL} is {text!r}, which means the yard {home.host} that you are logged in to; wanted: OWNER/NAME",
            hint=f"with its host it is in another registry: {DEFAULT_REGISTRY}/{named.repository}",
        )
    return replace(named, registry=home.host, implied=False)
