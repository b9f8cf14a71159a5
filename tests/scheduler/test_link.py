"""Where workers dial: sockets in folders of their own, and ports where sockets do not reach."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from modelyard import errors
from modelyard.scheduler.link import MAX_SOCKET_PATH, Link, socket_in_folder
from modelyard_runner import protocol


def make(path: Path, address: str | None) -> Link:
    return Link(
        path,
        address=address,
        find=lambda token_hash: None,
        on_hello=lambda instance, hello: None,
        on_frames=lambda instance, frames: None,
        on_lost=lambda instance: None,
    )


def test_a_socket_has_a_folder_of_its_own_also_where_its_path_would_be_too_long(tmp_path: Path) -> None:
    assert socket_in_folder(tmp_path / "d") == tmp_path / "d" / "link" / "link.sock"
    long = tmp_path / ("x" * MAX_SOCKET_PATH)
    assert len(str(socket_in_folder(long))) <= MAX_SOCKET_PATH
    assert socket_in_folder(long).parent != socket_in_folder(long / "y").parent


@pytest.mark.anyio
async def test_at_a_port_somebody_without_a_token_is_turned_away(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    link = make(tmp_path / "unused", f"tcp:127.0.0.1:{port}")
    await link.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(protocol.encode({"kind": "hello", "token": "made up", "protocol": protocol.VERSION}))
    said = protocol.Decoder().feed(await reader.read())
    assert [frame["kind"] for frame in said] == ["shutdown"]
    writer.close()
    await link.close()
    assert not (tmp_path / "unused").exists()


@pytest.mark.anyio
async def test_a_port_that_somebody_has_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(errors.Unavailable, match=str(port)):
            await make(tmp_path / "unused", f"tcp:127.0.0.1:{port}").open()
