"""A yard in a container of its own engine: who it is, and what the engine calls its folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.engines.base import EngineError, Image
from modelyard.engines.docker import driver_container, within
from modelyard.engines.docker.container import body
from tests.engines.test_container_requests import SITE, SPEC

ID = "ab" * 32
INSIDE = f"""\
1021 1020 0:60 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/{"cd" * 32}/diff
1030 1021 8:1 /var/lib/docker/volumes/data/_data /data rw - ext4 /dev/sda1 rw
1031 1021 8:1 /docker/containers/{ID}/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw
"""
OUTSIDE = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n23 22 0:21 / /proc rw - proc proc rw\n"
SHOWN = {
    "Image": "sha256:yard",
    "Mounts": [
        {"Type": "volume", "Source": "/var/lib/docker/volumes/data/_data", "Destination": "/data"},
        {"Type": "bind", "Source": "/big/caches", "Destination": "/data/caches"},
        {"Type": "tmpfs", "Source": "", "Destination": "/elsewhere"},
    ],
}
INSIDE_SITE = replace(SITE, within=within.read(SHOWN))


def test_a_container_is_known_by_what_its_engine_made_for_it() -> None:
    assert within.identifier(INSIDE) == ID
    assert within.identifier(OUTSIDE) is None


def test_folders_are_mounted_by_the_engines_paths_and_keep_ours_inside() -> None:
    mounts = {each["Target"]: each["Source"] for each in body(SPEC, INSIDE_SITE)["HostConfig"]["Mounts"]}
    volume = "/var/lib/docker/volumes/data/_data"
    assert mounts["/data/instances/i/predictions"] == f"{volume}/instances/i/predictions"
    assert mounts["/data/link"] == f"{volume}/link"
    # The innermost mount is the one that holds it.
    assert mounts["/data/caches/m"] == "/big/caches/m"


@pytest.mark.parametrize("path", ["/elsewhere/link", "/tmp", "/database"])
def test_a_folder_that_no_volume_has_is_refused_by_its_name(path: str) -> None:
    with pytest.raises(EngineError, match=f"its folder {path} is on no volume"):
        INSIDE_SITE.mount(Path(path), Path(path))


def test_what_drives_a_container_shares_its_network_and_is_told_the_token_on_stdin() -> None:
    spec = replace(SPEC, image=Image(reference="image", speaks_link=False))
    asked = driver_container.body(spec, INSIDE_SITE, "driven", ["/box"])
    assert (asked["Image"], asked["HostConfig"]["NetworkMode"]) == ("sha256:yard", "container:driven")
    assert [mount["Target"] for mount in asked["HostConfig"]["Mounts"]] == ["/data/instances/i", "/data/link"]
    assert "a-token" not in str(asked)
    assert b"a-token" in driver_container.handed(spec)
