"""Where a push goes: a model of the yard that somebody is logged in to, or a repository of any other registry."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

from modelyard.cli import naming
from modelyard.errors import UsageError
from modelyard.oci import names
from modelyard.oci.client import reference
from modelyard.oci.client.reference import Reference
from modelyard.packaging.config import Config

Target = str | Reference


def find(named: str | None, config: Config, hosts: Container[str], environ: Mapping[str, str]) -> Target:
    """`owner/model` at the yard, which `hosts` mean too; or the repository of another registry. `named`: what the
    command was given, else cog.yaml and the variables say. Raises UsageError."""
    if named is not None:
        return _given(named, config, hosts)
    if config.image:
        if _has_variables(environ):
            raise UsageError(
                "'image' in cog.yaml cannot be combined with COG_MODEL* env vars",
                hint="unset them, or write `model` in place of `image`",
            )
        return _placed(config.image, hosts, "`image` of cog.yaml")
    if _has_variables(environ):
        return _of_variables(config, hosts, environ)
    if config.model is None:
        raise UsageError(
            "To push images, you must either set the 'image' option in cog.yaml or say where to",
            hint="yard push OWNER/MODEL, such as yard/hello-world; or HOST/OWNER/NAME for another registry",
        )
    return _placed(config.model, hosts, "`model` of cog.yaml")


def _given(named: str, config: Config, hosts: Container[str]) -> Target:
    found = _placed(named, hosts, "the model")
    if not isinstance(found, str) and config.model and not config.image:
        # Cog's sentence, for which scripts look.
        raise UsageError(
            f"positional image argument not supported with 'model' config: {named!r} was given, and cog.yaml says"
            f" `model: {config.model}`",
            hint=f"COG_MODEL={named} yard push sends it there; with `image` in place of `model` the argument is taken",
        )
    return found


def _has_variables(environ: Mapping[str, str]) -> bool:
    if not any(name.startswith("COG_MODEL") for name in environ):
        return False
    from modelyard.weights import reference as models  # only who sets one pays for it

    return models.is_given(environ)


def _of_variables(config: Config, hosts: Container[str], environ: Mapping[str, str]) -> Target:
    """What `model` and the variables above it mean together; without a host, the yard."""
    from modelyard.weights import reference as models

    found = models.resolve(config.model, environ)
    if found.implied or found.registry in hosts:
        return _model(found.repository, "`model` with COG_MODEL*")
    return found


def _placed(written: str, hosts: Container[str], what: str) -> Target:
    host = naming.host_of(written)
    if host is None:
        return _model(written, what)
    if host in hosts:
        return _model(written.partition("/")[2], what, written)
    return reference.parse(written, what)


def _model(model: str, what: str, written: str | None = None) -> str:
    written = written or model
    owner, slash, name = model.partition("/")
    if not slash or not owner or not name or "/" in name or ":" in name:
        hint = "a version gets its name from what is in it, so leave the tag out" if ":" in name else None
        raise UsageError(f"{what} is {written!r}; wanted: OWNER/MODEL, such as yard/hello-world", hint=hint)
    if not names.is_part(owner) or not names.is_part(name):
        hint = f"such as {_tidy(owner)}/{_tidy(name)}"
        raise UsageError(f"{what} is {written!r}; wanted: names of {names.RULE}", hint=hint)
    return model


def _tidy(name: str) -> str:
    """The nearest name that may be one."""
    return "-".join(re.findall("[a-z0-9]+", name.lower())) or "model"
