"""A yard that speaks HTTPS itself: replies, long ones too, commands, and a certificate that is renewed."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import certificates
import httpx
import pytest

from tests.faults.yard import TOKEN, Yard

ECHO = """
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, text: str) -> str:
        return text
"""


class Secure:
    """A yard with a certificate, and a client that trusts it."""

    def __init__(self, yard: Yard, pair: certificates.Pair) -> None:
        self.yard = yard
        self.pair = pair
        self.url = f"https://127.0.0.1:{yard.port}"
        trust = ssl.create_default_context(cafile=str(pair.chain))
        self.http = httpx.Client(
            base_url=self.url, verify=trust, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60
        )

    def command(self, *arguments: str, cwd: Path | None = None) -> str:
        done = self.yard.command(*arguments, cwd=cwd, SSL_CERT_FILE=str(self.pair.chain), MODELYARD_URL=self.url)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serial(self) -> int:
        """Of the certificate that a client meets now."""
        shown = ssl.get_server_certificate(("127.0.0.1", self.yard.port))
        return certificates.x509.load_pem_x509_certificate(shown.encode()).serial_number


@pytest.fixture
def secure(make_yard: Callable[..., Yard], tmp_path: Path) -> Iterator[Secure]:
    pair = certificates.make(tmp_path)
    yard = make_yard(settings={"MODELYARD_TLS_CERT": str(pair.chain), "MODELYARD_TLS_KEY": str(pair.key)})
    yard.launch()
    found = Secure(yard, pair)
    deadline = time.monotonic() + 60
    while "Yard ready" not in yard.log():
        assert time.monotonic() < deadline, yard.log()
        time.sleep(0.05)
    yield found
    found.http.close()


def test_everything_answers_over_https_and_says_https(secure: Secure, tmp_path: Path) -> None:
    assert f"Yard ready at {secure.url}" in secure.yard.log()
    project = tmp_path / "echo"
    project.mkdir()
    (project / "cog.yaml").write_text('build:\n  python_version: "3.11"\nrun: "run.py:Runner"\n')
    (project / "run.py").write_text(ECHO)
    secure.command("push", "yard/echo", cwd=project)
    version = secure.http.get("/v1/models/yard/echo").json()["latest_version"]["id"]
    # Longer than what the socket takes at once.
    text = "x" * 3_000_000
    made = secure.http.post(
        "/v1/predictions", json={"version": version, "input": {"text": text}}, headers={"prefer": "wait"}
    ).json()
    assert made["output"] == text
    assert made["urls"]["get"].startswith(secure.url + "/")
    assert "ready" in secure.command("status")


def test_a_client_that_does_not_trust_the_certificate_is_told_how_to(secure: Secure) -> None:
    refused = secure.yard.command("status", MODELYARD_URL=secure.url)
    assert refused.returncode == 1
    assert "certificate" in refused.stderr
    assert "SSL_CERT_FILE" in refused.stderr


def test_who_stops_a_yard_whose_certificate_is_not_trusted_is_told_why_it_is_not_found(
    secure: Secure, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    refused = secure.yard.command("down", MODELYARD_URL=secure.url, MODELYARD_DATA=str(elsewhere))
    assert refused.returncode == 1
    assert f"data folder {elsewhere}, and the yard at {secure.url} could not be asked for its own" in refused.stderr
    assert f"the certificate of {secure.url} is not trusted here" in refused.stderr
    assert "SSL_CERT_FILE" in refused.stderr
    assert "--data" in refused.stderr


def test_a_client_that_speaks_plain_http_harms_nothing(secure: Secure) -> None:
    refused = secure.yard.command("status")
    assert refused.returncode == 1
    assert "https://" in refused.stderr
    with socket.create_connection(("127.0.0.1", secure.yard.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert secure.http.get("/healthz").json() == {"status": "ready"}
    assert "Traceback" not in secure.yard.log()


def test_a_renewed_certificate_is_taken_up_at_a_hang_up_signal(secure: Secure, tmp_path: Path) -> None:
    assert secure.serial() == secure.pair.serial
    renewed = certificates.make(tmp_path)
    assert secure.yard.process is not None
    secure.yard.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while secure.serial() != renewed.serial:
        assert time.monotonic() < deadline, secure.yard.log()
        time.sleep(0.05)
    assert "was renewed" in secure.yard.log()


def test_a_certificate_that_cannot_be_used_keeps_the_yard_from_starting(
    make_yard: Callable[..., Yard], tmp_path: Path
) -> None:
    pair = certificates.make(tmp_path)
    yard = make_yard()
    refused = yard.command("up", "--data", str(yard.data), "--tls-cert", str(pair.chain), "--tls-key", os.devnull)
    assert refused.returncode == 2
    assert f"tls_key: {os.devnull} holds no private key in PEM form" in refused.stderr
    assert "Traceback" not in refused.stderr
    refused = yard.command("up", "--data", str(yard.data), "--tls-cert", str(pair.chain))
    assert refused.returncode == 2
    assert "tls_key is not" in refused.stderr
