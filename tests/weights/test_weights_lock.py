"""`weights.lock`: written the same way each time, read strictly, and compared with cog.yaml."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.packaging.config import Source, Weight
from modelyard.weights import lock
from modelyard.weights.lock import Lock, LockedFile, LockedLayer, LockedSource, LockedWeight, LockError

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


def locked(name: str = "w1", **changes: Any) -> LockedWeight:
    known: dict[str, Any] = {
        "name": name,
        "target": f"/src/{name}",
        "sources": (LockedSource(uri="file://./in", fingerprint=C, include=("*.json",)),),
        "imported_at": "2026-01-02T03:04:05Z",
        "digest": C,
        "set_digest": C,
        "size": 3,
        "size_compressed": 2,
        "files": (
            LockedFile(path="b/c.json", size=1, digest=A, layer=B),
            LockedFile(path="a.json", size=2, digest=B, layer=A),
        ),
        "layers": (
            LockedLayer(digest=B, media_type="t", size=1, size_uncompressed=1),
            LockedLayer(digest=A, media_type="t", size=1, size_uncompressed=2),
        ),
    }
    return LockedWeight(**(known | changes))


def test_a_lock_is_read_as_it_was_written_and_sorted(tmp_path: Path) -> None:
    path = lock.path_of(tmp_path)
    lock.save(path, Lock(weights=(locked("w2"), locked("w1"))))
    document = json.loads(path.read_text())
    assert list(document) == ["version", "envelopeFormat", "weights"]
    assert [weight["name"] for weight in document["weights"]] == ["w1", "w2"]
    assert [file["path"] for file in document["weights"][0]["files"]] == ["a.json", "b/c.json"]
    assert [layer["digest"] for layer in document["weights"][0]["layers"]] == [A, B]
    found = lock.load(path)
    assert found is not None
    assert lock.render(found) == path.read_bytes()
    assert found.get("w1") is not None
    assert found.get("w3") is None
    assert list(tmp_path.iterdir()) == [path]


def test_no_lock_is_no_error(tmp_path: Path) -> None:
    assert lock.load(tmp_path / "weights.lock") is None


def document(**changes: Any) -> dict[str, Any]:
    return json.loads(lock.render(Lock(weights=(locked(**changes),))))


def broken(place: str, value: object) -> bytes:
    whole = document()
    *folders, last = (int(part) if part.isdigit() else part for part in place.split("."))
    inner: Any = whole
    for part in folders:
        inner = inner[part]
    inner[last] = value
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "this is not JSON"),
        (b"[]", "the file is []; wanted: an object"),
        (broken("version", 2), "version is 2; wanted: 1"),
        (broken("version", True), "version is True; wanted: 1"),
        (broken("weights", {}), "weights is {}; wanted: a list"),
        (broken("weights.0.files.0.path", "../x"), "weights[0].files[0].path is '../x'"),
        (broken("weights.0.files.0.path", "/etc/passwd"), "wanted: a path inside the weight's folder"),
        (broken("weights.0.files.0.path", "a/./b"), "wanted: a path inside the weight's folder"),
        (broken("weights.0.files.0.path", "b/c.json"), "the path 'b/c.json' stands there twice"),
        (broken("weights.0.files.0.path", "b"), "'b' is a file and a folder"),
        (broken("weights.0.files.0.digest", "sha256:x"), "files[0].digest is 'sha256:x'"),
        (broken("weights.0.files.0.layer", C), "which is not among its layers"),
        (broken("weights.0.layers.0.size", -1), "layers[0].size is -1; wanted: a number of bytes"),
        (broken("weights.0.layers.0.size", True), "layers[0].size is True"),
        (broken("weights.0.name", None), "weights[0].name is None; wanted: a text"),
        (broken("weights.0.target", "src"), "weights[0].target is 'src'"),
        (broken("weights.0.target", "/src/../etc"), "wanted: an absolute folder"),
    ],
)
def test_a_broken_lock_says_where_and_what_is_wanted(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "weights.lock").write_bytes(data)
    with pytest.raises(LockError) as refusal:
        lock.load(tmp_path / "weights.lock")
    assert refusal.value.detail.startswith("weights.lock: ")
    assert words in refusal.value.detail
    assert refusal.value.hint


def test_two_weights_of_one_name_are_refused() -> None:
    whole = document()
    whole["weights"] *= 2
    with pytest.raises(LockError, match="'w1' stands there twice"):
        lock.parse(json.dumps(whole).encode())


def weight(name: str = "w1", **changes: Any) -> Weight:
    known: dict[str, Any] = {"target": f"/src/{name}", "sources": (Source(uri="./in", include=("*.json",)),)}
    return Weight(name=name, **(known | changes))


def test_what_was_imported_as_cog_yaml_says_is_in_sync() -> None:
    for spelling in ("./in", "in", "file://./in", "file://in", "./in/"):
        source = Source(uri=spelling, include=("*.json",))
        lock.require_sync([weight(sources=(source,))], Lock(weights=(locked(),)), "yard")
    lock.require_sync([], None, "yard")


def test_every_difference_is_told_in_one_error() -> None:
    wanted = [weight("w0"), weight("w1", target="/elsewhere", sources=(Source(uri="in", exclude=("*.bin",)),))]
    with pytest.raises(lock.OutOfSyncError) as refusal:
        lock.require_sync(wanted, Lock(weights=(locked("w1"), locked("w2"))), "cog")
    assert refusal.value.detail.splitlines() == [
        "weights.lock is out of sync with cog.yaml:",
        '  - "w0": not imported yet',
        '  - "w1": config changed (target: /src/w1 → /elsewhere; include: [*.json] → []; exclude: [] → [*.bin])',
        '  - "w2": removed from cog.yaml but still in lockfile',
        "Run 'cog weights import' to update.",
    ]


def test_another_source_is_a_change() -> None:
    changed = weight(sources=(Source(uri="hf://org/repo"),))
    (found,) = lock.drift([changed], Lock(weights=(locked(),)))
    assert (found.kind, found.text) == ("stale", "config changed (source: file://./in → hf://org/repo)")


def test_putting_weights_in_keeps_only_those_that_are_named() -> None:
    before = Lock(weights=(locked("w1"), locked("w2"), locked("w3")), envelope_format="other")
    after = before.with_weights([locked("w2", size=9)], keep=["w1", "w2"])
    assert [(weight.name, weight.size) for weight in sorted(after.weights, key=lambda w: w.name)] == [
        ("w1", 3),
        ("w2", 9),
    ]
    assert after.envelope_format == "other"
    assert before.with_weights([locked("w2")], keep=["w2"]).envelope_format == lock.ENVELOPE
