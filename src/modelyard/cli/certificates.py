"""A base that trusts one more authority, as `COG_CA_CERT` names it: a layer with its certificate, and variables."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from modelyard.cli import bases, executed
from modelyard.cli.memory import Memory
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.oci import labels
from modelyard.oci.layers import Layer, Member, write_layer
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import LAYER_KIND
from modelyard.packaging.base import Base
from modelyard.store import authorities

# Where Debian has all that is trusted, and where it looks for what somebody added when it makes that file anew.
BUNDLE: Final = "etc/ssl/certs/ca-certificates.crt"
OWN: Final = "usr/local/share/ca-certificates/cog-ca-cert.crt"
VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_MADE: Final = "certificates.json"


def add(base: Base, environ: Mapping[str, str], said: Talk) -> Base:
    """The base with the authority that the variable names, if it names one. Raises UsageError."""
    try:
        own = authorities.certificates(environ)
    except authorities.NoCertificateError as error:
        raise UsageError(str(error)) from None
    if not own:
        return base
    store, memory = Layout(bases.home(environ)), Memory(bases.home(environ) / _MADE)
    key = hashlib.sha256(f"{base.digest}\0{own}".encode()).hexdigest()
    layers = executed.known(memory.get(key), store, labels.CERTIFICATES_LAYER)
    if layers is None:
        said.say(f"Adding the certificate of {authorities.VARIABLE} to what the image trusts")
        layers = [_make(base, own, store, environ, said)]
        memory.put(key, {"layers": [executed.as_json(layer) for layer in layers]})
    variables = tuple(line for line in base.config.environment if line.partition("=")[0] not in VARIABLES)
    config = replace(base.config, environment=(*variables, *(f"{name}=/{BUNDLE}" for name in VARIABLES)))
    return replace(base, config=config).under(layers)


def _make(base: Base, own: str, store: Layout, environ: Mapping[str, str], said: Talk) -> Layer:
    bases.complete(base.layers, base.ref, environ, said)
    before = _trusted(base) or authorities.trusted(environ)
    with store.making() as folder:
        members = []
        for name, text in ((BUNDLE, f"{before.rstrip()}\n{own.strip()}\n"), (OWN, f"{own.strip()}\n")):
            path = folder / Path(name).name
            path.write_text(text, encoding="utf-8")
            members.append(Member(name=name, path=path))
        layer = write_layer(members, folder / "layer.tar.gz", {LAYER_KIND: labels.CERTIFICATES_LAYER})
        return replace(layer, path=store.take(layer.path, layer.descriptor.digest))


def _trusted(base: Base) -> str:
    """What is in the base's own file of authorities; "" where it has none."""
    for layer in reversed(base.layers):
        with contextlib.suppress(tarfile.TarError), tarfile.open(layer.path) as archive:
            for member in archive:
                name = member.name.removeprefix("./").lstrip("/")
                if name == BUNDLE and member.isreg() and (file := archive.extractfile(member)) is not None:
                    return file.read().decode("utf-8", errors="replace")
    return ""
