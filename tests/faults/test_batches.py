"""Batches on a whole yard: what waits in the queue is answered together, by one instance."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.faults.yard import Yard

BATCHED = """
import os
import time

import cog
from cog import Input


class Runner(cog.BaseRunner):
    @cog.batch(max_size=3, max_wait_ms=600_000)
    def run(self, text: list[str], folder: list[str], times: list[int] = Input(default=1)) -> list[dict | Exception]:
        print(f"{len(text)} at once")
        if "stay" in text:
            open(os.path.join(folder[0], "begun"), "w").close()
            time.sleep(600)
        return [
            {"all": sorted(text), "own": one * many} if one != "bad" else ValueError("bad text")
            for one, many in zip(text, times)
        ]
"""


def test_what_waits_in_a_yard_is_answered_together(yard: Yard, tmp_path: Path) -> None:
    version = yard.push("batched", BATCHED)
    shown = yard.http.get(f"/v1/models/yard/batched/versions/{version}").json()
    document = shown["openapi_schema"]
    assert document["x-modelyard-batch"] == {"max_size": 3, "max_wait_ms": 600_000}
    assert document["components"]["schemas"]["Input"]["properties"]["text"]["type"] == "string"
    made = [
        yard.create(version, {"text": text, "folder": str(tmp_path), **more})["id"]
        for text, more in (("a", {}), ("bad", {}), ("c", {"times": 2}), ("d", {}), ("e", {}), ("f", {}))
    ]
    ended = [yard.finished(prediction) for prediction in made]
    assert [one["status"] for one in ended] == ["succeeded", "failed", *["succeeded"] * 4]
    assert ended[1]["error"] == "ValueError: bad text"
    assert ended[2]["output"]["own"] == "cc"
    assert [one["metrics"]["batch_size"] for one in ended] == [3] * 6
    assert [one["output"]["all"] for one in ended if one["output"]] == [["a", "bad", "c"]] * 2 + [["d", "e", "f"]] * 3
    assert {one["logs"] for one in ended if one["status"] == "succeeded"} == {"3 at once\n"}
    assert len(yard.workers()) == 1


def test_who_is_canceled_in_a_yard_before_the_batch_starts_leaves_it(yard: Yard, tmp_path: Path) -> None:
    version = yard.push("batched", BATCHED)
    first, second = (yard.create(version, {"text": text, "folder": str(tmp_path)})["id"] for text in ("a", "b"))
    yard.until(first, lambda _: len(yard.workers()) == 1)
    yard.http.post(f"/v1/predictions/{first}/cancel")
    assert yard.finished(first)["status"] == "canceled"
    rest = [yard.create(version, {"text": text, "folder": str(tmp_path)})["id"] for text in ("c", "d")]
    assert [yard.finished(prediction)["output"]["all"] for prediction in (second, *rest)] == [["b", "c", "d"]] * 3


def test_a_worker_that_dies_in_a_yard_fails_its_whole_batch(yard: Yard, tmp_path: Path) -> None:
    version = yard.push("batched", BATCHED)
    made = [yard.create(version, {"text": text, "folder": str(tmp_path)})["id"] for text in ("stay", "b", "c")]
    for prediction in made:
        yard.until(prediction, lambda shown: shown["status"] == "processing" and shown["logs"] != "")
    canceled = made.pop()
    yard.http.post(f"/v1/predictions/{canceled}/cancel")
    assert yard.finished(canceled)["status"] == "canceled"
    (worker,) = yard.workers()
    os.kill(worker, signal.SIGKILL)
    assert [yard.finished(prediction)["status"] for prediction in made] == ["failed", "failed"]
