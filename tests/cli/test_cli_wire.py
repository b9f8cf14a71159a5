"""HTTP by hand: every way in which an answer may come, and those that are none, from a server that sends raw bytes."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from yard_process import Run

from modelyard.cli import client, feeds, wire
from modelyard.cli.client import Login
from modelyard.errors import Unavailable

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def answering(*pieces: bytes, context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers each connection with these bytes and hangs up; its port, and what it was asked."""
    asked: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) if context else connection as talking:
                    asked.append(talking.recv(65536))
                    for piece in pieces:
                        talking.sendall(piece)
            except OSError:
                continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1], asked
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


@pytest.mark.parametrize(
    "pieces",
    [
        (JSON + b"Content-Length: 9\r\n\r\n", b'{"a":', b" 1}\nmore"),
        (JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n{", b'"a":\r\n', b"3;x=y\r\n 1}\r\n0\r\n\r\n"),
        (JSON + b"\r\n", b'{"a": 1}'),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + JSON + b"content-length: 8\r\n\r\n" + b'{"a": 1}',),
        (b'HTTP/1.0 200\nX: y\n\n{"a": 1}',),
    ],
)
def test_an_answer_is_read_however_it_comes(pieces: tuple[bytes, ...]) -> None:
    with answering(*pieces) as (port, asked):
        login = Login(url=f"http://127.0.0.1:{port}/below", token="r8_x")
        assert client.call(login, "POST", "/v1/x", {"b": 2}) == {"a": 1}
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /below/v1/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer r8_x\r\n" in head
    assert b"\r\nContent-Length: 8" in head
    assert body == b'{"b": 2}'


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 soon\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK", "cut off"),
        (JSON + b"Content-Length: 100\r\n\r\n{", "cut off"),
        (JSON + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", "cut off"),
        (JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "cut off"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500, "headers without end"),
        (JSON + b"Content-Length: 5\r\n\r\nhello", "its reply is not JSON"),
    ],
)
def test_an_answer_that_is_none_is_said_in_words(answer: bytes, said: str) -> None:
    with answering(answer) as (port, _), pytest.raises(Unavailable, match=said):
        client.call(Login(url=f"http://127.0.0.1:{port}", token=None), "GET", "/v1/x")


def test_a_token_with_a_line_break_sends_no_header_of_its_own(yard: Run) -> None:
    with answering(JSON + b"Content-Length: 2\r\n\r\n{}") as (port, asked):
        done = yard("ps", MODELYARD_URL=f"http://127.0.0.1:{port}", MODELYARD_TOKEN="r8_x\r\nX-Other: y")
    assert done.returncode == 2
    assert "the token holds characters that no token has" in done.stderr
    assert not asked


@pytest.mark.parametrize("command", ["push yard/x", "weights import", "run yard/x -i file=@run.py"])
def test_no_command_sends_or_shows_a_token_with_a_line_break(yard: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "one.bin").write_text("weights")
    (tmp_path / "run.py").write_text("def run() -> str:\n    return ''\n")
    (tmp_path / "cog.yaml").write_text(
        "run: run.py:run\nmodel: yard/x\nweights: [{name: w, target: /w, source: {uri: file://./w}}]\n"
        if command == "weights import"
        else "run: run.py:run\n"
    )
    with answering(JSON + b"Content-Length: 2\r\n\r\n{}") as (port, asked):
        told = {"MODELYARD_URL": f"http://127.0.0.1:{port}", "MODELYARD_TOKEN": "r8_x\r\nX-Other: y"}
        done = yard(*command.split(), cwd=tmp_path, MODELYARD_BASE_IMAGE="none", **told)
    assert done.returncode == 2, done.stderr
    assert "the token holds characters that no token has" in done.stderr
    assert "X-Other" not in done.stdout + done.stderr
    assert not asked


def test_events_are_read_as_they_come() -> None:
    lines = [
        b": hi",
        b"",
        b"event: logs",
        b"id: 7",
        b"data: one",
        b"data:two",
        b"data:",
        b"",
        b"data: x",
        b"",
        b"data: cut",
    ]
    assert list(feeds.events(lines)) == [("logs", "7", "one\ntwo\n"), ("message", "", "x")]


def test_lines_come_whole_whatever_pieces_they_come_in() -> None:
    with answering(JSON + b"\r\n", b"one\r\ntw", b"o\n\nthree") as (port, _):
        reply = wire.send(f"http://127.0.0.1:{port}", "GET", "/", headers={}, timeout_seconds=5)
        with reply:
            assert list(reply.lines()) == [b"one", b"two", b"", b"three"]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed but itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "yard")])
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, plain))
    return folder / "cert.pem", folder / "key.pem"


def test_a_yard_behind_tls_is_asked_when_its_certificate_is_trusted_and_only_then(yard: Run, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    body = b'{"results": [], "next": null}'
    answer = JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with answering(answer, context=context) as (port, _):
        asking = {"MODELYARD_URL": f"https://127.0.0.1:{port}", "MODELYARD_TOKEN": "r8_x"}
        trusted = yard("ps", **asking, SSL_CERT_FILE=str(cert))
        refused = yard("ps", **asking)
    assert (trusted.returncode, trusted.stderr) == (0, "")
    assert trusted.stdout.startswith("Nothing runs.")
    assert refused.returncode == 1
    assert "is not trusted here" in refused.stderr
