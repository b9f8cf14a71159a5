"""A yard as a process: it takes its folder and its address, says that it is ready, drains and stops when it is told."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Callable

import uvicorn
import uvloop

from modelyard import app, host, logs, notify, settings, tls
from modelyard.sessions import LINK_SECONDS
from modelyard.settings import Settings

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.00005
YOUNG_OBJECTS = 20_000
# What stopping takes beside waiting for what runs: connections that end, writes that are finished.
STOP_SECONDS = 30.0


def serve(found: Settings, report: Callable[[str], None]) -> int:
    """Run a yard until it is told to stop; the exit status. Raises ModelyardError when it cannot start."""
    logs.set_up(found.log_format, found.log_level)
    if found.log_format == "json":
        # Who reads objects line by line is to find nothing else; and a token that is shown once is shown at any level.
        log.setLevel(logging.INFO)
        report = log.info
    # A thread that comes back from the disk waits this long for the interpreter, and a group of commits with it.
    sys.setswitchinterval(SWITCH_SECONDS)
    return uvloop.run(_serve(found, report))


async def _serve(found: Settings, report: Callable[[str], None]) -> int:
    certificate = tls.certificate(found.tls_cert, found.tls_key)
    supervisor = notify.Supervisor(settings.environment(), os.getpid())
    with host.alone_in(found.data) as answers_at:
        listening = host.listen(found.host, found.port)
        port = int(listening.getsockname()[1])
        answers_at(app.address_of(found, port))
        async with app.open_yard(found, port, report, certificate) as yard:
            server = _server(yard, certificate)
            signals = host.Signals()
            # A terminal that is closed says it too, and means the end.
            at_terminal = sys.stdin is not None and sys.stdin.isatty()
            signals.watch(report, renewing=supervisor.present or (certificate is not None and not at_terminal))
            beside = [asyncio.create_task(supervisor.reassure())]
            if certificate is not None:
                beside.append(asyncio.create_task(certificate.watch(signals.renew)))
                tls.warn_of_expiry(certificate, time.time(), report)
            # What signs a browser in is for whoever reads this now, not for a log that a supervisor or a shipper keeps.
            # Who connects already is answered in a moment.
            kept = supervisor.present or found.log_format == "json"
            _greet(found, port, yard, None if kept else await yard.login_path(), report)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            # What start-up made stays for ever; a collection that walks it delays whoever waits.
            gc.collect()
            gc.freeze()
            # What comes and goes under load is freed by counting; looking for circles among it costs a tenth of a run.
            gc.set_threshold(YOUNG_OBJECTS)
            await _answering(server, serving)
            supervisor.ready(found.public_url or app.address_of(found, port))
            await _asked_to_stop(found, signals, serving, supervisor)
            await _stop(found, yard, server, signals, serving)
            for task in beside:
                task.cancel()
    return 0


def _server(yard: app.Yard, certificate: tls.Certificate | None) -> host.Server:
    return host.Server(
        uvicorn.Config(
            yard.app,
            loop="uvloop",
            http=host.Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            interface="asgi3",
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
            ssl_context_factory=None if certificate is None else lambda _, __: certificate.context,
        )
    )


async def _answering(server: host.Server, serving: asyncio.Task[None]) -> None:
    """Until requests are answered, or cannot be."""
    while not (server.started or serving.done()):
        await asyncio.sleep(0.005)


def _greet(found: Settings, port: int, yard: app.Yard, login_path: str | None, report: Callable[[str], None]) -> None:
    address = found.public_url or app.address_of(found, port)
    report(f"Yard ready at {address}")
    if yard.new_token is not None:
        report(f"The owner's token, shown only once: {yard.new_token}")
    if login_path is not None:
        report(f"Sign a browser in, once, within {LINK_SECONDS // 60} minutes: {address}{login_path}")
    if yard.new_token is not None:
        report(f"Next: yard login {address}, then yard push {found.owner}/NAME in a project's folder.")


async def _asked_to_stop(
    found: Settings, signals: host.Signals, serving: asyncio.Task[None], supervisor: notify.Supervisor
) -> None:
    asked = asyncio.create_task(signals.asked.wait())
    await asyncio.wait([asked, serving], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    supervisor.stopping(found.drain_seconds + STOP_SECONDS)


async def _stop(
    found: Settings, yard: app.Yard, server: host.Server, signals: host.Signals, serving: asyncio.Task[None]
) -> None:
    insisted = asyncio.create_task(signals.insisted.wait())
    if signals.asked.is_set():
        drained = asyncio.create_task(yard.scheduler.drain(found.drain_seconds))
        await asyncio.wait([drained, insisted], return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
    server.should_exit = True
    server.force_exit = signals.insisted.is_set()
    insisted.cancel()
    await serving
    # A person at a terminal is done with it; a supervisor that sends SIGTERM may start the next one in a moment.
    await yard.scheduler.close(stop_instances=signals.last is not None and signals.last.name == "SIGINT")
