"""Pushes, deletions and cleanings of one yard at once, also when it is killed under them: no version loses a layer."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelyard.oci import labels
from modelyard.oci import manifest as oci
from tests.faults.yard import Yard

SCHEMA = json.dumps({"components": {"schemas": {"Input": {"type": "object", "properties": {}}}}})
MODELS = ("one", "two", "three")
PUSHERS, IMAGES_EACH, SHARED = 6, 6, 24
A_LONG_TIME = 9e5


@pytest.fixture(params=["sqlite", "postgres"])
def yard(request: pytest.FixtureRequest, make_yard: Callable[..., Yard]) -> Yard:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    return make_yard(database=url)


class Pusher:
    """Pushes images as docker does: what the registry says that it has is not sent."""

    def __init__(self, yard: Yard, layers: list[bytes], seed: int) -> None:
        self._http = httpx.Client(base_url=yard.url, headers=yard.http.headers, timeout=60)
        self._layers = layers
        self._random = random.Random(seed)
        self.pushed: list[tuple[str, bytes]] = []
        self.wrong: list[str] = []

    def run(self) -> None:
        try:
            for _ in range(IMAGES_EACH):
                self._push()
        except httpx.TransportError:
            return  # the yard was killed
        finally:
            self._http.close()

    def _push(self) -> None:
        model = f"yard/{self._random.choice(MODELS)}"
        layers = self._random.sample(self._layers, 5)
        config = oci.render_config(
            oci.Config(labels={**labels.cog(version="0.23.1", config="{}", schema=SCHEMA), "n": os.urandom(4).hex()})
        )
        for data in (config, *layers):
            digest = oci.digest_of(data)
            if self._http.head(f"/v2/{model}/blobs/{digest}").status_code == 404:
                sent = self._http.post(f"/v2/{model}/blobs/uploads/?digest={digest}", content=data)
                self._expect(sent, 201)
        # Whoever sends large layers takes a while before it names them.
        time.sleep(self._random.uniform(0, 0.2))
        described = [oci.Descriptor(media_type=oci.LAYER_TAR, digest=oci.digest_of(d), size=len(d)) for d in layers]
        of_config = oci.Descriptor(media_type=oci.CONFIG, digest=oci.digest_of(config), size=len(config))
        data = oci.render(oci.Manifest(config=of_config, layers=tuple(described)))
        headers = {"Content-Type": oci.MANIFEST}
        tag = self._random.choice(("latest", "stable"))
        self._expect(self._http.put(f"/v2/{model}/manifests/{tag}", content=data, headers=headers), 201)
        self.pushed.append((model, data))

    def _expect(self, reply: httpx.Response, status: int) -> None:
        if reply.status_code != status:
            self.wrong.append(f"{reply.request.method} {reply.request.url.path}: {reply.status_code} {reply.text}")


def clean(yard: Yard, stop: threading.Event, wrong: list[str]) -> None:
    with httpx.Client(base_url=yard.url, headers=yard.http.headers, timeout=60) as http:
        try:
            while not stop.is_set():
                reply = http.post("/v1/yard/prune", json={"unused": "0"})
                if reply.status_code != 200 or reply.json()["failures"]:
                    wrong.append(f"prune: {reply.status_code} {reply.text[:500]}")
        except httpx.TransportError:
            return  # the yard was killed


def delete_old(yard: Yard, old: list[tuple[str, str]]) -> None:
    """What an earlier round pushed goes while this one pushes images of the same layers."""
    with httpx.Client(base_url=yard.url, headers=yard.http.headers, timeout=60) as http:
        try:
            for model, version in old:
                http.delete(f"/v1/models/{model}/versions/{version}")
        except httpx.TransportError:
            return


def versions(yard: Yard) -> list[tuple[str, str]]:
    found = []
    for name in MODELS:
        path: Any = f"/v1/models/yard/{name}/versions"
        while path:
            reply = yard.http.get(path)
            page = reply.json() if reply.status_code == 200 else {"results": []}
            found += [(f"yard/{name}", each["id"]) for each in page["results"]]
            path = page.get("next")
    return found


def test_no_version_loses_a_layer_to_cleanings_that_run_while_others_push_and_delete(yard: Yard) -> None:
    layers = [os.urandom(50_000) for _ in range(SHARED)]
    for number in range(4):
        yard.start()
        old = versions(yard)
        stop, wrong = threading.Event(), list[str]()
        pushers = [Pusher(yard, layers, seed=number * 100 + each) for each in range(PUSHERS)]
        work = [threading.Thread(target=each.run) for each in pushers]
        work.append(threading.Thread(target=delete_old, args=(yard, old)))
        cleaners = [threading.Thread(target=clean, args=(yard, stop, wrong)) for _ in range(2)]
        for thread in (*cleaners, *work):
            thread.start()
        if number % 2:
            time.sleep(0.4)
            yard.kill()
        for thread in work:
            thread.join(100)
        stop.set()
        for thread in cleaners:
            thread.join(100)
        if number % 2:
            yard.start()
            # What a cleaning had forgotten and not yet deleted when it was killed, goes with the next.
            clean_once(yard)

        assert not wrong
        assert not [each for pusher in pushers for each in pusher.wrong]
        there = set(versions(yard))
        for pusher in pushers:
            for model, data in pusher.pushed:
                assert (model, oci.digest_of(data)[7:]) in there
                assert yard.http.get(f"/v2/{model}/manifests/{oci.digest_of(data)}").content == data
        yard.check_store()
        yard.stop()
        age(yard.data / "blobs" / "oci" / "sha256")


def clean_once(yard: Yard) -> None:
    reply = yard.http.post("/v1/yard/prune", json={"unused": "0"})
    assert (reply.status_code, reply.json()["failures"]) == (200, [])


def age(folder: Path) -> None:
    """As if all of it had been pushed so long ago, by another life of the yard, that nobody can rely on it."""
    at = time.time() - A_LONG_TIME
    for path in folder.iterdir():
        os.utime(path, (at, at))
