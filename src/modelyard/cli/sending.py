"""A version on its way to a yard: what it lacks is sent, what another model there has is taken over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from modelyard.cli import bases, progress, registries, words
from modelyard.cli.client import Login
from modelyard.cli.memory import Memory
from modelyard.cli.talk import Talk
from modelyard.oci import labels
from modelyard.oci.client.remote import Repository
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import INDEX, LAYER_KIND, parse_config
from modelyard.packaging.base import Base
from modelyard.packaging.builders.base import Artifact

if TYPE_CHECKING:
    from modelyard.cli.carried import Carried

TAG = "latest"
# What was sent where, so that another model of the same yard takes it over there.
_SENT = "sent.json"
_SHARED = (
    labels.BASE_LAYER,
    labels.CERTIFICATES_LAYER,
    labels.SYSTEM_LAYER,
    labels.SERVER_LAYER,
    labels.BOX_LAYER,
    labels.ENVIRONMENT_LAYER,
    labels.RUN_LAYER,
)


class Sent(NamedTuple):
    """What came of it: bytes that were sent, the version's digest, and lines that show its parts."""

    size: int
    digest: str
    parts: Sequence[str]


class Sending(NamedTuple):
    """To a model of the yard that somebody is logged in to."""

    login: Login
    model: str
    environ: Mapping[str, str]
    said: Talk

    def send(self, artifact: Artifact, on: Base | None, weights: Carried | None) -> Sent:
        """Send what the registry lacks, then the manifest. What is cut off is cut off before that: the yard shows a
        version that is whole, or none."""
        memory = Memory(bases.home(self.environ) / _SENT)
        with registries.at_yard(self.login, self.model) as registry, contextlib.ExitStack() as stack:
            sent_before = memory.get(self.login.url) if on is not None else {}
            missing = [layer for layer in artifact.layers if not self._has(registry, layer, sent_before)]
            missing = self._without_base(registry, missing, on)
            if on is not None:
                bases.complete(missing, on.ref, self.environ, self.said)
            if weights is not None and (wanted := weights.lacking(registry, self.login, self.model)):
                missing += stack.enter_context(weights.made(wanted))
            config = artifact.manifest.config
            more = 0 if registry.has(config.digest) else config.size
            sent = sum(layer.descriptor.size for layer in missing) + more
            self._announce(sent)
            self._send_layers(missing, registry)
            if more:
                registry.send_bytes(config.digest, artifact.config_bytes)
            digest, parts = _named(registry, artifact, weights)
        if on is not None:
            self._remember(memory, artifact.layers)
        return Sent(sent, digest, parts)

    def _has(self, registry: Repository, layer: Layer, sent: Mapping[str, str]) -> bool:
        """Has the repository this layer, or can it take it over from where it was sent before?"""
        digest = layer.descriptor.digest
        if registry.has(digest):
            return True
        origin = sent.get(digest, self.model)
        return origin != self.model and registry.mount(digest, origin)

    def _without_base(self, registry: Repository, missing: list[Layer], on: Base | None) -> list[Layer]:
        """What is left to send where the yard gets layers of the base from its registry itself, when it wants them."""
        origin = None if on is None or on.made_here else bases.origin(on.ref)
        if on is None or origin is None:
            return missing
        taken = set[str]()
        for layer in missing:
            if layer.descriptor.annotations.get(LAYER_KIND) != labels.BASE_LAYER:
                continue
            if not registry.mount(layer.descriptor.digest, origin):
                break  # what it does not reach for one layer it does not reach for the next
            taken.add(layer.descriptor.digest)
        if taken:
            self.said.say(f"The yard gets {on.ref} from its registry itself")
        return [layer for layer in missing if layer.descriptor.digest not in taken]

    def _remember(self, memory: Memory, layers: Sequence[Layer]) -> None:
        """Which model of the yard has the layers that others share."""
        shared = {each.descriptor.digest for each in layers if each.descriptor.annotations.get(LAYER_KIND) in _SHARED}
        known = memory.get(self.login.url)
        if not shared <= known.keys():
            memory.put(self.login.url, {**known, **dict.fromkeys(shared, self.model)})

    def _announce(self, total: int) -> None:
        if total and (total < progress.WATCHED_BYTES or not self.said.is_terminal):
            self.said.say(f"Sending {words.size(total)}")

    def _send_layers(self, missing: list[Layer], registry: Repository) -> None:
        total = sum(layer.descriptor.size for layer in missing)
        watched = total >= progress.WATCHED_BYTES and self.said.is_terminal
        with progress.bar("Sending", total, self.said if watched else None) as bar:
            arrived = bar.advance
            if len(missing) < 2:
                for layer in missing:
                    _send(registry, layer, arrived)
                return
            # Only a push of several layers, which takes long enough, pays for loading this.
            from modelyard.weights.together import at_once

            def send(layer: Layer, advance: Callable[[int], None]) -> None:
                with registry.twin() as own:
                    _send(own, layer, advance)

            at_once(send, missing, arrived)


def _send(registry: Repository, layer: Layer, advance: Callable[[int], None]) -> None:
    registry.send(layer.descriptor.digest, layer.descriptor.size, layer.chunks, advance)


def _named(registry: Repository, artifact: Artifact, weights: Carried | None) -> tuple[str, Sequence[str]]:
    """Make it a version: an image, or a bundle of one and its weights. Gives its digest, and lines that show it."""
    if weights is None:
        registry.put_manifest(TAG, artifact.manifest_bytes, artifact.manifest.media_type)
        return artifact.digest, [f"  image  {registry.name}@{artifact.digest}"]
    from modelyard.cli import bundle  # only weights pay for it

    made = bundle.make(artifact, parse_config(artifact.config_bytes).architecture, weights.locked)
    for weight in made.weights:
        if not registry.has(weight.made.config_digest):
            registry.send_bytes(weight.made.config_digest, weight.made.config)
        registry.put_manifest(weight.made.digest, weight.made.manifest, weight.made.media_type)
    registry.put_manifest(artifact.digest, artifact.manifest_bytes, artifact.manifest.media_type)
    registry.put_manifest(TAG, made.data, INDEX)
    return made.digest, bundle.tree(registry.name, artifact.digest, made)
