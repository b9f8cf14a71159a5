"""Where weights come from: folders, files of the web, a hub."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from weights_servers import Files, Hub, Line, digest, serving

from modelyard import errors
from modelyard.weights import uris
from modelyard.weights.cache import Cache
from modelyard.weights.sources import hub, single
from modelyard.weights.sources.base import SourceError
from modelyard.weights.sources.local import Local


def everything(path: str) -> bool:
    return True


def nobody(count: int) -> None:
    pass


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("x", "file://./x"),
        ("./x/", "file://./x"),
        ("file://./x", "file://./x"),
        ("file://x//y", "file://./x/y"),
        (".", "file://./"),
        ("../x", "file://../x"),
        ("/data/x", "file:///data/x"),
        ("file:///data/x/", "file:///data/x"),
        ("hf://o/r@v1", "hf://o/r@v1"),
        ("https://h/x", "https://h/x"),
    ],
)
def test_a_source_has_one_spelling(written: str, normal: str) -> None:
    assert uris.normalised(written) == normal


# Folders


def test_a_folder_is_read_with_all_that_is_in_it_but_ours(tmp_path: Path) -> None:
    for name in ("in/b.txt", "in/sub/a.txt", "in/.cog/x", "in/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "in" / "empty").mkdir()
    source = Local(tmp_path)
    found = source.look("file://./in", everything)
    assert [file.path for file in found.files] == [".hidden", "b.txt", "sub/a.txt"]
    assert [file.digest for file in found.files][1] == digest(b"in/b.txt")
    assert Local(tmp_path).look(f"file://{tmp_path}/in", everything).fingerprint == found.fingerprint
    assert source.look("file://./in", lambda path: path == "b.txt").fingerprint != found.fingerprint
    (tmp_path / "in" / "b.txt").write_text("in/B.txt")
    assert Local(tmp_path).look("file://./in", everything).fingerprint != found.fingerprint


def test_a_file_that_changes_while_it_is_imported_is_told(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("one")
    source = Local(tmp_path)
    (file,) = source.look("file://./in", everything).files
    (tmp_path / "in" / "a").write_text("two")
    with pytest.raises(SourceError, match="changed while it was read"):
        source.fetch(file, Cache(tmp_path / "cache"), nobody)


def test_what_is_no_folder_of_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("/etc/passwd")
    (tmp_path / "to-in").symlink_to("in")
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "p")
    for uri, words in (
        ("file://./file", "weight source URI is not a directory (file://./file)"),
        ("file://./to-in", "weight source URI is not a directory"),
        ("file://./none", "weight source not found: file://./none"),
        ("file://./in", "weight source has a symbolic link: link"),
        ("file://./pipes", "weight source has something that is no file: p"),
    ):
        with pytest.raises(SourceError) as refusal:
            Local(tmp_path).look(uri, everything)
        assert words in refusal.value.detail


# Files of the web


def test_a_file_of_the_web_is_known_by_its_tag_and_brought_once_it_is_wanted(tmp_path: Path) -> None:
    data = os.urandom(500_000)
    files = Files({"/x/model.bin": data})
    cache = Cache(tmp_path)
    with serving(files) as url:
        source = single.Single(cache)
        found = source.look(f"{url}/x/model.bin?download=1", everything)
        (file,) = found.files
        assert (file.path, file.size, file.digest) == ("model.bin", len(data), None)
        assert found.fingerprint == f'etag:"{digest(data)[7:23]}"'
        assert [command for command, _, _ in files.asked] == ["HEAD"]
        assert source.fetch(file, cache, nobody) == digest(data)
    assert cache.path(digest(data)).read_bytes() == data


def test_a_file_without_a_tag_is_known_by_its_content(tmp_path: Path) -> None:
    files = Files({"/model.bin": b"content"}, tags=False)
    with serving(files) as url:
        found = single.Single(Cache(tmp_path)).look(f"{url}/model.bin", everything)
        assert found.fingerprint == digest(b"content")
        assert found.files[0].digest == digest(b"content")
        files.files["/model.bin"] = b"other"
        again = single.Single(Cache(tmp_path)).look(f"{url}/model.bin", everything)
        assert again.fingerprint == digest(b"other")


def test_a_download_goes_on_where_it_broke_and_where_an_earlier_one_ended(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    files = Files({"/model.bin": data})
    cache = Cache(tmp_path)
    with serving(files) as url:
        line = Line(url, [1 << 20, 1_000_000, 700_000])
        source = single.Single(cache, wait=lambda _: None)
        (file,) = source.look(f"http://{line.address}/model.bin", everything).files
        told: list[int] = []
        assert source.fetch(file, cache, told.append) == digest(data)
        line.close()
        assert sum(told) == len(data)
        ranges = [asked for command, _, asked in files.asked if command == "GET"]
        assert ranges[0] == ""
        assert len(ranges) == 3
        assert all(asked.startswith("bytes=") for asked in ranges[1:])
    assert not list((tmp_path / "weights" / "partial").iterdir())


def test_several_that_bring_the_same_at_once_do_not_spoil_it(tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    cache = Cache(tmp_path)
    with serving(Files({"/model.bin": data})) as url:
        (file,) = single.Single(cache).look(f"{url}/model.bin", everything).files
        with ThreadPoolExecutor(6) as pool:
            found = set(pool.map(lambda _: single.Single(cache).fetch(file, cache, nobody), range(6)))
    assert found == {digest(data)}
    assert cache.path(digest(data)).read_bytes() == data


def test_what_changed_meanwhile_is_never_put_together(tmp_path: Path) -> None:
    files = Files({"/model.bin": b"a" * 1000})
    cache = Cache(tmp_path)
    with serving(files) as url:
        source = single.Single(cache, wait=lambda _: None)
        (file,) = source.look(f"{url}/model.bin", everything).files
        files.files["/model.bin"] = b"b" * 1000
        with pytest.raises(SourceError, match="changed while it was brought"):
            source.fetch(file, cache, nobody)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with serving(Files({})) as url:
        source = single.Single(Cache(tmp_path), wait=lambda _: None)
        with pytest.raises(errors.NotFound, match="has nothing at"):
            source.look(f"{url}/model.bin", everything)
        with pytest.raises(SourceError, match="does not end in the name of a file"):
            source.look(f"{url}/", everything)
        with pytest.raises(SourceError, match="does not end in the name of a file"):
            source.look(f"{url}/..%2Fx", everything)


# A hub


def test_a_hub_gives_the_files_of_a_commit(tmp_path: Path) -> None:
    contents = {"config.json": b"{}", "big.safetensors": b"x" * 9000, "sub/a b.txt": b"hello", "z.bin": b"z"}
    there = Hub(contents, large=("big.safetensors",), token="hf_secret")
    cache = Cache(tmp_path)
    with serving(there) as url:
        source = hub.Hub({"HF_ENDPOINT": url + "/", "HF_TOKEN": "hf_secret"})
        found = source.look("hf://o/r", lambda path: not path.endswith(".bin"))
        assert found.fingerprint == f"commit:{'c' * 40}"
        assert [(file.path, file.size) for file in found.files] == [
            ("big.safetensors", 9000),
            ("config.json", 2),
            ("sub/a b.txt", 5),
        ]
        assert [file.digest is not None for file in found.files] == [True, False, False]
        got = {file.path: source.fetch(file, cache, nobody) for file in found.files}
        assert source.look("hf://o/r@v1", everything).fingerprint == found.fingerprint
    assert got == {path: digest(data) for path, data in contents.items() if path != "z.bin"}


def test_a_hub_whose_bytes_are_not_those_it_told_of_is_refused(tmp_path: Path) -> None:
    with serving(Hub({"m.bin": b"x"}, large=("m.bin",), lies=True)) as url:
        source = hub.Hub({"HF_ENDPOINT": url})
        (file,) = source.look("hf://o/r", everything).files
        with pytest.raises(SourceError, match="the digest of what came is"):
            source.fetch(file, Cache(tmp_path), nobody)
    assert not list((tmp_path / "weights" / "partial").iterdir())


def test_a_hub_that_says_no_is_told_in_a_sentence() -> None:
    with serving(Hub({"../x": b"x"}, token="t")) as url:
        with pytest.raises(errors.Forbidden) as private:
            hub.Hub({"HF_ENDPOINT": url}).look("hf://o/r", everything)
        assert private.value.detail == "the hub does not give hf://o/r: Access to model o/r is restricted."
        assert private.value.hint == "if it is private or gated, set HF_TOKEN"
        known = hub.Hub({"HF_ENDPOINT": url, "HF_TOKEN": "t"})
        with pytest.raises(errors.NotFound, match="the hub has no hf://o/r@nope"):
            known.look("hf://o/r@nope", everything)
        with pytest.raises(SourceError, match="leads out of its folder"):
            known.look("hf://o/r", everything)
    with serving(Files({"/api/models/o/r/revision/main": b"<html>"})) as url, pytest.raises(SourceError, match="JSON"):
        hub.Hub({"HF_ENDPOINT": url}).look("hf://o/r", everything)
