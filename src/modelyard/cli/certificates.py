"""A base that trusts one more authority, as `COG_CA_CERT` names it: a layer with its certificate, and variables."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from modelyard.cli import bases
from modelyard.cli.memory import Memory
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.oci import labels
from modelyard.oci.layers import Layer, Member, write_layer
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import LAYER_GZIP, LAYER_KIND, Descriptor
from modelyard.packaging.base import Base
from modelyard.store import authorities

# Where Debian has all that is trusted, and where it looks for what somebody added when it makes that file anew.
BUNDLE: Final = "etc/ssl/certs/ca-certificates.crt"
OWN: Final = "usr/local/share/ca-certificates/cog-ca-cert.crt"
VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_MADE: Final = "certificates.json"
_KIND: Final = {LAYER_KIND: labels.CERTIFICATES_LAYER}


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
    layer = _known(memory.get(key), store)
    if layer is None:
        said.say(f"Adding the certificate of {authorities.VARIABLE} to what the image trusts")
        layer = _make(base, own, store, environ, said)
        descriptor = layer.descriptor
        memory.put(key, {"digest": descriptor.digest, "size": descriptor.size, "diff_id": layer.diff_id})
    variables = tuple(line for line in base.config.environment if line.partition("=")[0] not in VARIABLES)
    config = replace(
        base.config,
        diff_ids=(*base.config.diff_ids, layer.diff_id),
        environment=(*variables, *(f"{name}=/{BUNDLE}" for name in VARIABLES)),
    )
    return replace(base, config=config, layers=(*base.layers, layer))


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


def _known(found: Mapping[str, object], store: Layout) -> Layer | None:
    if not found:
        return None
    descriptor = Descriptor(
        media_type=LAYER_GZIP, digest=str(found["digest"]), size=int(str(found["size"])), annotations=_KIND
    )
    if not store.has(descriptor):
        return None
    return Layer(descriptor=descriptor, diff_id=str(found["diff_id"]), path=store.path(descriptor.digest))
