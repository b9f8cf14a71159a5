"""Instances as containers. What the Docker Engine lists under this yard's label is the truth.

A container outlives the yard and is found again by its labels. One that has ended is removed once the reason has been
read; one that ended, or was never started, while nobody looked is removed by the next yard.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp

from modelyard.engines.base import EngineError, Handle, Limits, OnExit, Spec
from modelyard.engines.docker import container as containers
from modelyard.engines.docker import driver_container, ends, network, within
from modelyard.engines.docker.connection import Connection
from modelyard.engines.docker.container import Site
from modelyard.engines.docker.driver import Driver, said
from modelyard.engines.docker.driver_container import DriverContainer
from modelyard.engines.docker.log import Recorder
from modelyard_runner.driver_api import END_FILE

log = logging.getLogger(__name__)

# How long the last words of a container are waited for.
LAST_WORDS_SECONDS = 2.0
_REMOVED = "its container was removed by somebody else"
CREATED_FOLDERS = (*containers.WRITABLE, containers.READABLE)


@dataclass(slots=True)
class _Running:
    handle: Handle
    limits: Limits
    container: Any
    driver: Driver | DriverContainer | None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str | None = None
    watcher: asyncio.Task[None] | None = None


class DockerEngine:
    """Instances as containers. `folder` holds one folder an instance; `site` says what they have in common; `box` are
    the paths of our code in the PYTHONPATH of what runs beside a container."""

    name = "docker"
    contained = True

    def __init__(
        self, *, connection: Connection, folder: Path, site: Site, box: Sequence[str], on_exit: OnExit
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._site = site
        self._box = tuple(box)
        self._on_exit = on_exit
        self._running: dict[str, _Running] = {}
        self._starting: set[str] = set()
        self._known = False
        # May a network of this yard be there?
        self._networked = False

    async def start(self, spec: Spec) -> Handle:
        """Make a container and start it. Raises EngineError."""
        if spec.image is None:
            raise EngineError("the version has no image, so no container can be made of it")
        await self._open()
        self._make_folders(spec)
        self._starting.add(spec.instance)
        try:
            return await self._start(spec)
        finally:
            self._starting.discard(spec.instance)

    async def _start(self, spec: Spec) -> Handle:
        assert spec.image is not None  # noqa: S101 - the caller has checked it
        with self._connection.asking("start a container"):
            container = await self._connection.client.containers.create(
                containers.body(spec, self._site), name=containers.name_of(spec.instance)
            )
        try:
            with self._connection.asking("start a container"):
                state = await self._begin(container, spec)
            handle = _handle(spec.instance, state["State"])
            driver = None if spec.image.speaks_link else await self._drive(spec, state)
        except BaseException:
            await self._remove(container)
            raise
        self._watch(_Running(handle, spec.limits, container, driver), since=0)
        return handle

    async def _begin(self, container: Any, spec: Spec) -> Mapping[str, Any]:
        assert spec.image is not None  # noqa: S101 - the caller has checked it
        if spec.image.speaks_link:
            async with container.attach(stdin=True) as stream:
                await container.start()
                await stream.write_in(containers.handed(spec))
        else:
            await container.start()
        return await container.show()  # type: ignore[no-any-return]

    async def _drive(self, spec: Spec, shown: Mapping[str, Any]) -> Driver | DriverContainer:
        if self._site.within is not None:
            return await driver_container.start(self._connection, spec, self._site, str(shown["Id"]), self._box)
        # Who dials from this host needs no name that stands for it.
        here = replace(spec, link=spec.link.replace(f"tcp:{containers.HOST_NAME}:", "tcp:127.0.0.1:"))
        gateway = self._site.gateway
        at, name = ("127.0.0.1", containers.HOST_NAME) if self._site.published else (gateway, gateway)
        return Driver.start(
            here,
            address=_address(shown, self._site),
            listening={"host": at, "name": name} if at else None,
            box=self._box,
            folder=self._folder / spec.instance,
        )

    def _make_folders(self, spec: Spec) -> None:
        for name in CREATED_FOLDERS:
            (spec.scratch / name).mkdir(parents=True, exist_ok=True)
        spec.cache.mkdir(parents=True, exist_ok=True)

    async def _open(self) -> None:
        """Learn what the engine has, and make the network of this yard's containers."""
        if self._known:
            return
        with self._connection.asking("say what it has"):
            about = await self._connection.client.system.info()
        if any("rootless" in option for option in about.get("SecurityOptions") or ()):
            # There, the root of a container is the engine's own user.
            self._site = replace(self._site, user="0:0", published=True)
        self._site = replace(self._site, cores=int(about.get("NCPU") or 0))
        self._networked = True
        with self._connection.asking("make a network"):
            gateway = await network.make(self._connection.client, self._site)
        self._site = replace(self._site, gateway=gateway)
        self._known = True

    # -- what there is

    async def list(self) -> list[Handle]:
        """The containers of this yard that run; those that do not are removed."""
        try:
            with self._connection.asking("list containers"):
                self._site = replace(self._site, within=await within.find(self._connection, self._folder))
                found = await self._connection.client.containers.list(
                    all=True, filters={"label": [f"{containers.YARD}={self._site.yard}"]}
                )
        except EngineError:
            await self._connection.close()
            raise
        self._networked = self._networked or bool(found)
        drivers = [each for each in found if each["Labels"].get(containers.KIND) == containers.DRIVER]
        running = {_instance(each): each for each in drivers if each["State"] == "running"}
        for container in found:
            instance = _instance(container)
            if container not in drivers and not self._is_known(instance):
                await self._find(instance, container, self._driver(instance, running.get(instance)))
        for driver in drivers:
            if not self._is_known(_instance(driver)):
                await self._remove(driver)
        return [each.handle for each in self._running.values()]

    def _is_known(self, instance: str) -> bool:
        return instance in self._running or instance in self._starting

    async def _find(self, instance: str, container: Any, driver: Driver | DriverContainer | None) -> None:
        with self._connection.asking("show a container"):
            shown = await container.show()
        lives = bool(shown["State"]["Running"])
        if shown["Config"]["Labels"].get(containers.KIND) == containers.COG:
            lives = lives and driver is not None
        if not lives:
            if driver is not None:
                await driver.kill()
            await self._catch_up(instance, container)
            await self._remove(container)
            return
        host = shown["HostConfig"]
        limits = Limits(memory_bytes=host.get("Memory") or 0, cpus=(host.get("NanoCpus") or 0) / 1e9)
        self._watch(_Running(_handle(instance, shown["State"]), limits, container, driver), since=self._noted(instance))

    def _driver(self, instance: str, own: Any) -> Driver | DriverContainer | None:
        """What drives an instance: its container, else a process that lives."""
        folder = self._folder / instance
        return Driver.find(folder) if own is None else DriverContainer(folder, own, self._connection.url)

    def _noted(self, instance: str) -> int:
        """When its log was last written: what it said after that is not in there."""
        try:
            return int(Recorder.path(self._folder, instance).stat().st_mtime)
        except OSError:
            return 0

    async def _catch_up(self, instance: str, container: Any) -> None:
        if (self._folder / instance).is_dir():
            with contextlib.suppress(EngineError), self._connection.asking("give a log"):
                await Recorder(self._folder, instance).record(container, self._noted(instance), follow=False)

    # -- ends

    async def stop(self, instance: str, grace: float) -> None:
        """SIGTERM, then after `grace` seconds SIGKILL to everything in the container, which is then removed."""
        running = self._running.get(instance)
        if running is None:
            return
        with contextlib.suppress(aiodocker.DockerError), self._asked_to_stop():
            if grace > 0:
                await running.container.stop(t=math.ceil(grace))
            else:
                await running.container.kill(signal="SIGKILL")
        await running.gone.wait()

    @contextlib.contextmanager
    def _asked_to_stop(self) -> Any:
        try:
            yield
        except (aiohttp.ClientError, OSError) as error:
            log.error("the Docker Engine does not answer, so a container lives on for now: %s", error)

    async def close(self) -> None:
        """Stop watching; the containers live on and will be found again. Without any, their network goes."""
        watchers = [running.watcher for running in self._running.values() if running.watcher is not None]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        self._running.clear()
        if self._networked:
            with contextlib.suppress(EngineError), self._connection.asking("remove a network"):
                await network.leave(self._connection.client, self._site)
        await self._connection.close()

    def _watch(self, running: _Running, since: int) -> None:
        self._running[running.handle.instance] = running
        running.watcher = asyncio.get_running_loop().create_task(self._see_it_end(running, since))

    async def _see_it_end(self, running: _Running, since: int) -> None:
        instance = running.handle.instance
        recorder = asyncio.create_task(Recorder(self._folder, instance).record(running.container, since, follow=True))
        driven = None if running.driver is None else asyncio.create_task(self._see_driver_end(running, running.driver))
        try:
            state = await ends.state(running.container, self._connection.url)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(recorder), LAST_WORDS_SECONDS)
        finally:
            recorder.cancel()
            if driven is not None:
                driven.cancel()
        if running.driver is not None:
            # The container may end before anybody has looked at its driver, which knows more.
            running.reason = running.reason or said(self._folder / instance / END_FILE)
            await running.driver.kill()
        await self._remove(running.container)
        self._running.pop(instance, None)
        running.gone.set()
        no_link = running.driver is not None
        reason = _REMOVED if state is None else containers.reason(state, running.limits, driven=no_link)
        self._on_exit(instance, reason if containers.OUT_OF_MEMORY in reason else running.reason or reason)

    async def _see_driver_end(self, running: _Running, driver: Driver | DriverContainer) -> None:
        running.reason = await driver.ended()
        with contextlib.suppress(aiodocker.DockerError, aiohttp.ClientError, OSError):
            await running.container.kill(signal="SIGKILL")

    async def _remove(self, container: Any) -> None:
        try:
            await container.delete(force=True, v=True)
        except aiodocker.DockerError as error:
            if error.status != 404:
                log.error("a container could not be removed; the next start of the yard will: %s", error.message)
        except (aiohttp.ClientError, OSError) as error:
            log.error("a container could not be removed; the next start of the yard will: %s", error)


def _instance(container: Any) -> str:
    """The instance that a listed container belongs to."""
    return str(container["Labels"].get(containers.INSTANCE, ""))


def _handle(instance: str, state: Mapping[str, Any]) -> Handle:
    # Nanoseconds are more than Python reads: `2026-01-31T12:00:00.123456789Z`.
    text = str(state.get("StartedAt", "")).rstrip("Z").partition(".")
    started = datetime.fromisoformat(f"{text[0]}.{(text[2] + '000000')[:6]}+00:00").timestamp()
    return Handle(instance=instance, pid=int(state.get("Pid") or 0), started_at=started)


def _address(shown: Mapping[str, Any], site: Site) -> str:
    """Where the HTTP API of a container is reached from here."""
    settings = shown["NetworkSettings"]
    if site.published:
        bound = (settings["Ports"].get(f"{containers.PORT}/tcp") or [{}])[0]
        return f"127.0.0.1:{bound.get('HostPort')}"
    return f"{settings['Networks'][site.network]['IPAddress']}:{containers.PORT}"


def own_user() -> str:
    """As whom containers run: as the yard does, which owns the folders that they share."""
    return f"{os.getuid()}:{os.getgid()}"
