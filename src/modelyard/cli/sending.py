"""A version on its way to a yard: what it lacks is sent, what another model there has is taken over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from modelyard.cli import bases, progress, words
from modelyard.cli.client import Login
from modelyard.cli.memory import Memory
from modelyard.cli.registry_client import Registry
from modelyard.cli.talk import Talk
from modelyard.oci import labels
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import LAYER_KIND
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


class Sending(NamedTuple):
    """To a model of the yard that somebody is logged in to."""

    login: Login
    model: str
    environ: Mapping[str, str]
    said: Talk

    def send(self, artifact: Artifact, on: Base | None, weights: Carried | None) -> int:
        """Send what the registry lacks, then the manifest; returns the number of bytes sent. What is cut off is cut
        off before the manifest: the yard shows a version that is whole, or none."""
        memory = Memory(bases.home(self.environ) / _SENT)
        with Registry(self.login, self.model) as registry, contextlib.ExitStack() as stack:
            sent_before = memory.get(self.login.url) if on is not None else {}
            missing = [layer for layer in artifact.layers if not self._has(registry, layer, sent_before)]
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
            registry.put_manifest(TAG, artifact.manifest_bytes, artifact.manifest.media_type)
        if on is not None:
            self._remember(memory, artifact.layers)
        return sent

    def _has(self, registry: Registry, layer: Layer, sent: Mapping[str, str]) -> bool:
        """Has the repository this layer, or can it take it over from where it was sent before?"""
        digest = layer.descriptor.digest
        if registry.has(digest):
            return True
        origin = sent.get(digest, self.model)
        return origin != self.model and registry.mount(digest, origin)

    def _remember(self, memory: Memory, layers: Sequence[Layer]) -> None:
        """Which model of the yard has the layers that others share."""
        shared = {each.descriptor.digest for each in layers if each.descriptor.annotations.get(LAYER_KIND) in _SHARED}
        known = memory.get(self.login.url)
        if not shared <= known.keys():
            memory.put(self.login.url, {**known, **dict.fromkeys(shared, self.model)})

    def _announce(self, total: int) -> None:
        if total and (total < progress.WATCHED_BYTES or not self.said.is_terminal):
            self.said.say(f"Sending {words.size(total)}")

    def _send_layers(self, missing: list[Layer], registry: Registry) -> None:
        total = sum(layer.descriptor.size for layer in missing)
        watched = total >= progress.WATCHED_BYTES and self.said.is_terminal
        with progress.bar("Sending", total, self.said if watched else None) as bar:
            arrived = bar.advance
            if len(missing) < 2:
                for layer in missing:
                    registry.send(layer, arrived)
                return
            # Only a push of several layers, which takes long enough, pays for loading this.
            from modelyard.weights.together import at_once

            def send(layer: Layer, advance: Callable[[int], None]) -> None:
                with Registry(self.login, self.model) as own:
                    own.send(layer, advance)

            at_once(send, missing, arrived)
