"""What the Docker Engine is asked for, and what its answers mean."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import docker_images
import pytest

from modelyard.engines.base import Image, Limits, Spec
from modelyard.engines.docker import connection
from modelyard.engines.docker.container import Site, body, handed, reason
from modelyard.engines.docker.engine import DockerEngine

GIB = 2**30
SITE = Site(yard="y", user="1000:1000", socket=Path("/data/link"), cores=8)
SPEC = Spec(
    instance="i",
    python=Path("python"),
    source=Path("/src"),
    ref="run.py:Runner",
    scratch=Path("/data/instances/i"),
    cache=Path("/data/caches/m"),
    link="unix:/data/link/link.sock",
    token="a-token",
    limits=Limits(memory_bytes=2 * GIB, cpus=1.5, gpus=("GPU-5d1e", "GPU-77aa")),
    environment={"MINE": "1"},
    secrets={"KEY": "hidden"},
    image=Image(reference="image"),
)


def test_gpus_are_asked_for_by_their_identifiers() -> None:
    asked = body(SPEC, SITE)["HostConfig"]["DeviceRequests"]
    assert asked == [{"Driver": "nvidia", "DeviceIDs": ["GPU-5d1e", "GPU-77aa"], "Capabilities": [["gpu"]]}]
    none = replace(SPEC, limits=Limits(memory_bytes=GIB, cpus=1))
    assert body(none, SITE)["HostConfig"]["DeviceRequests"] == []
    assert "NVIDIA_VISIBLE_DEVICES=void" in body(none, SITE)["Env"]


def test_a_container_sees_its_gpu_and_no_other() -> None:
    if problem := docker_images.problem():
        pytest.skip(problem)
    if "nvidia" not in docker_images.docker("info", "--format", "{{json .Runtimes}}"):
        return  # which hardware a machine has is not ours to demand; the request is asserted above
    seen = docker_images.docker("run", "--rm", "--gpus", "device=0", docker_images.base(), "ls", "/dev")
    assert "nvidia0" in seen


def test_limits_come_from_the_hardware_and_cores_from_what_the_engine_has() -> None:
    host = body(SPEC, SITE)["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (2 * GIB, 2 * GIB, 1_500_000_000)
    assert host["PidsLimit"] == 512 + 192
    assert body(SPEC, replace(SITE, cores=1))["HostConfig"]["NanoCpus"] == 1_000_000_000


def test_our_worker_gets_its_secrets_on_stdin_and_an_image_of_cog_in_its_environment() -> None:
    assert "hidden" not in json.dumps(body(SPEC, SITE))
    assert "a-token" not in json.dumps(body(SPEC, SITE))
    told = json.loads(handed(SPEC))
    assert told["environment"] == {"KEY": "hidden"}
    assert (told["worker"]["token"], told["worker"]["root"]) == ("a-token", "/src")
    of_cog = body(replace(SPEC, image=Image(reference="image", speaks_link=False), concurrency=4), SITE)
    assert {"KEY=hidden", "PORT=5000", "COG_MAX_CONCURRENCY=4"} <= set(of_cog["Env"])
    assert "Cmd" not in of_cog


def test_an_image_of_cog_sees_neither_the_link_nor_what_is_said_over_it() -> None:
    of_cog = body(replace(SPEC, image=Image(reference="image", speaks_link=False)), SITE)
    assert [mount["Target"] for mount in of_cog["HostConfig"]["Mounts"]] == ["/data/caches/m", "/tmp"]


def test_where_sockets_do_not_reach_a_name_stands_for_the_host() -> None:
    over_tcp = replace(SITE, socket=None, outgoing=False, gateway="192.168.0.1")
    host = body(SPEC, over_tcp)["HostConfig"]
    assert host["ExtraHosts"] == ["host.docker.internal:192.168.0.1"]
    assert host["NetworkMode"] == "modelyard-y-closed"
    assert body(SPEC, replace(over_tcp, published=True))["HostConfig"]["ExtraHosts"] == [
        "host.docker.internal:host-gateway"
    ]


def test_without_outgoing_access_a_network_leads_nowhere() -> None:
    closed = replace(SITE, outgoing=False)
    assert body(SPEC, closed)["HostConfig"]["NetworkMode"] == "none"
    assert closed.network_body()["Internal"] is True
    assert SITE.network_body()["Internal"] is False


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"ExitCode": 0}, "exited with code 0"),
        ({"ExitCode": 137}, "killed by signal 9 (SIGKILL)"),
        ({"ExitCode": 137, "OOMKilled": True}, "out of memory: it used more than the 2.0 GiB"),
        ({"ExitCode": 127, "Error": "no such file"}, "no such file"),
        ({"ExitCode": 250}, "exited with code 250"),
    ],
)
def test_an_end_is_put_into_words(state: dict[str, object], said: str) -> None:
    assert said in reason(state, SPEC.limits)


def test_an_image_whose_command_is_no_server_is_told_what_it_lacks() -> None:
    assert "must bring one" in reason({"ExitCode": 0}, SPEC.limits, driven=True)
    assert reason({"ExitCode": 3}, SPEC.limits, driven=True) == "exited with code 3"


def test_the_engine_is_where_docker_host_says_or_at_its_socket() -> None:
    assert connection.address({"DOCKER_HOST": "tcp://engine:2375"}) == "tcp://engine:2375"
    assert connection.address({"HOME": "/nowhere"}, "darwin") == "unix:///var/run/docker.sock"
    assert connection.address({}, "linux") == "unix:///var/run/docker.sock"


async def test_an_engine_that_made_nothing_is_asked_nothing_at_the_end(tmp_path: Path) -> None:
    asked = []
    socket = tmp_path / "engine.sock"

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        writer.close()

    async with await asyncio.start_unix_server(hang_up, socket):
        ours = connection.Connection(f"unix://{socket}")
        engine = DockerEngine(
            connection=ours, folder=tmp_path, site=SITE, box=(), on_exit=lambda instance, reason: None
        )
        await engine.close()
    assert asked == []
