"""`make image` where the network shows certificates of its own authority: what it says to who did not hand that in."""

from __future__ import annotations

import http.server
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import certificates
import docker_images
import pytest

ROOT = Path(__file__).parents[2]
NOTHING_THERE = "No matching distribution found"
# A line that ends so was said: where the engine names the step that failed, more follows.
NOT_TRUSTED = "the package index shows a certificate of an authority that is not trusted here"
NOR_BY = f"{NOT_TRUSTED}, nor by the file that was handed in"
HINT = "make image AUTHORITIES=ca.pem (docker build: --secret id=authorities.pem,src=ca.pem)"
FILES = ("deploy", "requirements", "runner", "scripts", "sdk", "src", "LICENSE", "README.md", "pyproject.toml")

pytestmark = pytest.mark.timeout(300)


class Index(NamedTuple):
    """An index that has nothing: pip's settings for it, and its authority."""

    settings: Path
    authority: Path


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Who does not trust it hangs up."""


class Nothing(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    if problem := docker_images.problem():
        pytest.skip(problem)
    address = docker_images.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    pair, authority = certificates.make_issued(tmp_path, address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.chain, pair.key)
    with Server((address, 0), Nothing) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        settings = tmp_path / "pip.conf"
        settings.write_text(f"[global]\nindex-url = https://{address}:{server.server_port}/simple\nretries = 0\n")
        yield Index(settings, authority)
        server.shutdown()
        thread.join()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """One whose lock is new to the engine, or it would answer with what it remembers."""
    for name in FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    with (tmp_path / "checkout" / "requirements" / "build.lock").open("a") as lock:
        lock.write(f"# {tmp_path}\n")
    return tmp_path / "checkout"


def make_image(checkout: Path, index: Index, authorities: Path | None = None) -> list[str]:
    """What of the words above a build says that cannot succeed."""
    variables = {"BASE": docker_images.base(), "IMAGE": "modelyard-test/refused:1", "PIP_CONF": str(index.settings)}
    if authorities is not None:
        variables["AUTHORITIES"] = str(authorities)
    done = subprocess.run(
        [checkout / "scripts" / "image"],
        env={**os.environ, "BUILDKIT_PROGRESS": "plain", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    said = (done.stdout + done.stderr).splitlines()
    told = [NOTHING_THERE] * any(NOTHING_THERE in line for line in said)
    return told + [end for end in (NOT_TRUSTED, NOR_BY, HINT) if any(line.endswith(end) for line in said)]


def test_a_build_that_lacks_an_authority_says_which_option_hands_it_in(
    index: Index, checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "strange").mkdir()
    strange = certificates.make(tmp_path / "strange").chain

    assert make_image(checkout, index) == [NOTHING_THERE, NOT_TRUSTED, HINT]
    assert make_image(checkout, index, strange) == [NOTHING_THERE, NOR_BY, HINT]
    assert make_image(checkout, index, index.authority) == [NOTHING_THERE]


@pytest.mark.parametrize("name", ["PIP_CONF", "AUTHORITIES"])
def test_a_file_that_is_not_there_is_told_by_the_name_of_its_option(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "image"],
        env={**os.environ, name: str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: {name} is {tmp_path / 'none'}: a file is wanted, and there is none, or nothing is in it\n"
    )
