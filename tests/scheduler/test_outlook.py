"""What the machine says of itself, in words."""

from __future__ import annotations

from dataclasses import replace

from modelyard.machine import Outlook, SeenInstance


def test_a_prediction_that_waits_for_a_start_is_told_of_what_starts() -> None:
    instance = SeenInstance(
        id="i", model_id="m", version_id="v", state="starting", since_seconds=2.4, concurrency=1, memory_bytes=0,
        cpus=0.0, gpus=(), running=(), said="",
    )  # fmt: skip

    def words(instance: SeenInstance) -> str:
        return Outlook(before=0, starting=instance, problem=None).words

    assert words(instance) == "starting the model: its process, 2 s"
    assert words(replace(instance, contained=True)) == "starting the model: its container, 2 s"
    assert words(replace(instance, contained=True, said="loading")) == "starting the model: loading, 2 s"
