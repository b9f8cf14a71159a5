"""What the Docker Engine is asked for, for one instance: pure.

The root is read-only, no capability is left, no privilege can be gained, and of this host a container sees the folders
of its own instance, its model's cache and the folder of the link's socket. Each of them lies where it lies for the
yard, so that a path means the same on both sides. They are mounted one by one: what holds them, with the instance's log
in it, is not the container's to change.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.engines.base import Image, Limits, Spec
from modelyard.engines.docker.within import Within
from modelyard.oci import labels

YARD, INSTANCE, KIND = "org.modelyard.yard", "org.modelyard.instance", "org.modelyard.kind"
OURS, COG, DRIVER = "worker", "cog", "driver"
PORT = 5000
HOST_NAME = "host.docker.internal"

# Folders of an instance that its container may write to, and the one that it may read.
WRITABLE = ("predictions", "frames", "weights", "tmp")
READABLE = "inputs"
LOG = {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "1"}}
PROCESSES, PROCESSES_A_CORE = 512, 128
OUT_OF_MEMORY = "(E1001)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What all containers of a yard have in common.

    `user`: as whom they run (`uid:gid`); `socket`: the folder of the link's socket, None where they dial over TCP;
    `outgoing`: may they reach other machines; `writable`: is their root theirs to change until they end; `published`:
    a container's own address cannot be reached from here, so its port is put on a port of this host; `cores`: how many
    the engine has to give; `gateway`: this host's address in their network; `within`: the yard's own container, where
    it is in one of this engine.
    """

    yard: str
    user: str
    socket: Path | None
    outgoing: bool = True
    writable: bool = False
    published: bool = False
    cores: int = 0
    gateway: str = ""
    within: Within | None = None

    def mount(self, source: Path, target: Path, *, read_only: bool = False) -> dict[str, Any]:
        """A folder of the yard's, shown to a container. Raises EngineError where the engine cannot see it."""
        there = source if self.within is None else self.within.at_engine(source)
        return {"Type": "bind", "Source": str(there), "Target": str(target), "ReadOnly": read_only}

    @property
    def network(self) -> str:
        """The network of this yard's containers. One that leads nowhere is another: the setting may change while some
        use what was there before."""
        return f"modelyard-{self.yard}" if self.outgoing else f"modelyard-{self.yard}-closed"

    def network_of(self, image: Image) -> str:
        """Where a container of this image is: nowhere, if nobody has to reach it and it may reach nobody."""
        alone = not self.outgoing and self.socket is not None and image.speaks_link
        return "none" if alone else self.network

    def network_body(self) -> dict[str, Any]:
        """The request that makes the network: containers do not see each other."""
        return {
            "Name": self.network,
            "Driver": "bridge",
            "Internal": not self.outgoing,
            "CheckDuplicate": True,
            "Labels": {YARD: self.yard},
            "Options": {"com.docker.network.bridge.enable_icc": "false"},
        }


def name_of(instance: str) -> str:
    """What its container is called."""
    return f"modelyard-{instance}"


def body(spec: Spec, site: Site) -> dict[str, Any]:
    """The request that makes the container of an instance."""
    assert spec.image is not None  # noqa: S101 - the engine has checked it
    ours = spec.image.speaks_link
    found: dict[str, Any] = {
        "Image": spec.image.reference,
        "User": site.user,
        "Env": [f"{name}={value}" for name, value in environment(spec).items()],
        "Labels": {YARD: site.yard, INSTANCE: spec.instance, KIND: OURS if ours else COG},
        "HostConfig": _host(spec, site),
        "Healthcheck": {"Test": ["NONE"]},
    }
    if ours:
        found |= {"Entrypoint": [], "Cmd": ["python", "-m", "modelyard_runner", "worker"]}
        found |= {"WorkingDir": spec.image.folder, "OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
        return found
    if spec.mode == "train":
        # Its entry point stays; what it says instead of this would have predicted.
        found["Cmd"] = ["python", "-m", "cog.server.http", "--x-mode", "train"]
    if site.published:
        found["ExposedPorts"] = {f"{PORT}/tcp": {}}
    return found


def handed(spec: Spec) -> bytes:
    """What is said on stdin alone: a container's environment can be looked up by whoever may use the engine."""
    assert spec.image is not None  # noqa: S101 - the engine has checked it
    told = {"worker": spec.told(spec.image.folder), "environment": dict(spec.secrets)}
    return json.dumps(told).encode() + b"\n"


def environment(spec: Spec) -> dict[str, str]:
    """The variables that a container gets besides those of its image."""
    assert spec.image is not None  # noqa: S101 - the engine has checked it
    cache = str(spec.cache)
    found = {
        "HF_HOME": f"{cache}/huggingface",
        "TORCH_HOME": f"{cache}/torch",
        "XDG_CACHE_HOME": cache,
        "TMPDIR": "/tmp",  # noqa: S108 - the instance's own, mounted there
        "PYTHONUNBUFFERED": "1",
        **spec.environment,
    }
    if not spec.limits.gpus:
        # Where every container gets the GPUs unless it says otherwise.
        found |= {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": ""}
    if spec.image.speaks_link:
        return {"LANG": "C.UTF-8", "HOME": "/tmp", **found, "MODELYARD_WORKER": "-"}  # noqa: S108
    if spec.concurrency is not None:
        found["COG_MAX_CONCURRENCY"] = str(spec.concurrency)
    # What it prints is passed on as it comes; who reads it has a pace of their own.
    return {**found, **spec.secrets, "PORT": str(PORT), "COG_THROTTLE_RESPONSE_INTERVAL": "0"}


def _host(spec: Spec, site: Site) -> dict[str, Any]:
    assert spec.image is not None  # noqa: S101 - the engine has checked it
    limits = spec.limits
    network = site.network_of(spec.image)
    found: dict[str, Any] = {
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": round(min(limits.cpus, site.cores or limits.cpus) * 1e9),
        "PidsLimit": PROCESSES + math.ceil(PROCESSES_A_CORE * limits.cpus),
        "ShmSize": max(64 * 2**20, limits.memory_bytes // 2),
        "OomScoreAdj": 800,
        "SecurityOpt": ["no-new-privileges:true"],
        "CapDrop": ["ALL"],
        "Privileged": False,
        "ReadonlyRootfs": not site.writable,
        "Init": True,
        "NetworkMode": network,
        "IpcMode": "private",
        "Mounts": mounts(spec, site),
        "LogConfig": LOG,
        "RestartPolicy": {"Name": "no"},
        "DeviceRequests": _gpus(limits),
    }
    if network != "none" and site.socket is None:
        # The gateway of their own network is this host, also where nothing beyond it can be reached.
        at = site.gateway if site.gateway and not site.published else "host-gateway"
        found["ExtraHosts"] = [f"{HOST_NAME}:{at}"]
    if site.published and not spec.image.speaks_link:
        found["PortBindings"] = {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    return found


def _gpus(limits: Limits) -> list[dict[str, Any]]:
    if not limits.gpus:
        return []
    return [{"Driver": "nvidia", "DeviceIDs": list(limits.gpus), "Capabilities": [["gpu"]]}]


def mounts(spec: Spec, site: Site) -> list[dict[str, Any]]:
    """The folders of the yard that the container sees."""
    scratch = spec.scratch
    found = [site.mount(spec.cache, spec.cache), site.mount(scratch / "tmp", Path("/tmp"))]  # noqa: S108
    if spec.image is not None and spec.image.speaks_link:
        found += [site.mount(scratch / name, scratch / name) for name in WRITABLE if name != "tmp"]
        found.append(site.mount(scratch / READABLE, scratch / READABLE, read_only=True))
        if site.socket is not None:
            found.append(site.mount(site.socket, site.socket, read_only=True))
    found += [site.mount(folder, Path(target), read_only=True) for folder, target in spec.folders]
    return found


def reason(state: Mapping[str, Any], limits: Limits, *, driven: bool = False) -> str:
    """Why a container ended, from what the engine says of its state; `driven`: one whose HTTP API is waited for."""
    if state.get("OOMKilled"):
        size = f"{limits.memory_bytes / 2**30:.1f} GiB"
        return f"out of memory: it used more than the {size} that its hardware has {OUT_OF_MEMORY}"
    code = int(state.get("ExitCode", 0))
    if state.get("Error"):
        return f"ended with an error of the Docker Engine: {state['Error']}"
    number = code - 128
    if number in {each.value for each in signal.Signals}:
        return f"killed by signal {number} ({signal.Signals(number).name})"
    return f"exited with code {code}" + (f": {labels.NO_SERVER}" if driven and code == 0 else "")
