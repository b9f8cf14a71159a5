"""What people told pip is heeded: its files and variables, certificates, passwords; with the real uv and an index."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import ssl
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certificates
import pytest

from modelyard.packaging import config, environment
from modelyard.packaging.compatibility import wheels
from modelyard.store import environments, pip_settings, uv
from modelyard.store.environments import Lock

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"
# What this machine itself was told stays out of it.
BARE = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PIP_", "UV_", "SSL_", "REQUESTS_", "CURL_", "XDG_", "COG_", "VIRTUAL_ENV"))
} | {"XDG_CONFIG_DIRS": "/nowhere"}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# -- pip's files


def test_a_later_file_wins_and_a_variable_wins_over_all(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write(tmp_path / "etc/pip.conf", "[global]\nindex-url = https://machine\ntimeout = 5\nproxy = http://p:1\n")
    write(home / ".pip/pip.conf", "[global]\nindex_url = https://old\n")
    write(home / ".config/pip/pip.conf", "[global]\nindex-url = https://person\nfind-links =\n    /a\n    /b\n")
    write(tmp_path / "venv/pip.conf", "[install]\ntimeout = 7\n")
    named = write(tmp_path / "named.conf", "[global]\ntimeout = 6\npre = yes\n")
    read = functools.partial(pip_settings.read, system=tmp_path, platform="linux")
    environ = {"HOME": str(home), "VIRTUAL_ENV": str(tmp_path / "venv")}
    assert read(environ) == {
        "index-url": "https://person",
        # `[install]` is for the command, so it wins over `[global]` of any file.
        "timeout": "7",
        "proxy": "http://p:1",
        "find-links": "\n/a\n/b",
    }
    assert read({**environ, "PIP_INDEX_URL": "https://variable"})["index-url"] == "https://variable"
    # A file that is named stands in for the person's own.
    found = read({**environ, "PIP_CONFIG_FILE": str(named)})
    assert (found["index-url"], found["pre"]) == ("https://machine", "yes")
    assert read({**environ, "PIP_CONFIG_FILE": os.devnull}) == {}


def test_files_of_a_mac_are_where_pip_looks_there(tmp_path: Path) -> None:
    write(tmp_path / "Library/Application Support/pip/pip.conf", "[global]\ntimeout = 5\n")
    write(tmp_path / "home/Library/Application Support/pip/pip.conf", "[global]\ntimeout = 6\n")
    write(tmp_path / "home/.config/pip/pip.conf", "[global]\ntimeout = 7\n")
    found = pip_settings.read({"HOME": str(tmp_path / "home")}, system=tmp_path, platform="darwin")
    assert found == {"timeout": "6"}


@pytest.mark.parametrize("text", ["index-url = x", "[global", "[global]\n\x00 = 1\nindex-url", "\udcff"])
def test_a_file_that_pip_could_not_read_says_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pip.conf"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert pip_settings.read({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(path)}, system=tmp_path) == {}


def test_the_folder_of_the_machine_is_looked_into_where_no_variable_names_another(tmp_path: Path) -> None:
    write(tmp_path / "etc/xdg/pip/pip.conf", "[global]\nindex-url = https://machine\n")
    home = {"HOME": str(tmp_path / "home")}
    assert pip_settings.read(home, system=tmp_path, platform="linux") == {"index-url": "https://machine"}
    assert pip_settings.read(home | {"XDG_CONFIG_DIRS": "/nowhere"}, system=tmp_path, platform="linux") == {}


# -- in uv's words


def test_every_setting_has_its_name_in_uv(tmp_path: Path) -> None:
    there = tmp_path / "wheels"
    there.mkdir()
    settings = {
        "index-url": "https://a/simple",
        "extra-index-url": "https://b/simple\nfile:///nowhere/simple https://c/simple",
        "find-links": f"{there} /nowhere file:///nowhere file://{there} https://d/",
        "trusted-host": "a b:8080",
        "constraint": "/c.txt",
        "pre": "true",
        "timeout": "30",
        "cert": "/ca.pem",
        "client-cert": "/me.pem",
        "proxy": "http://p:3128",
        "keyring-provider": "subprocess",
    }
    assert pip_settings.variables(settings, {}) == {
        "UV_DEFAULT_INDEX": "https://a/simple",
        "UV_INDEX": "https://b/simple https://c/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{there},file://{there},https://d/",
        "UV_INSECURE_HOST": "a b:8080",
        "UV_CONSTRAINT": "/c.txt",
        "UV_PRERELEASE": "allow",
        "UV_HTTP_TIMEOUT": "30",
        "SSL_CERT_FILE": "/ca.pem",
        "SSL_CLIENT_CERT": "/me.pem",
        "HTTPS_PROXY": "http://p:3128",
        "HTTP_PROXY": "http://p:3128",
        "UV_KEYRING_PROVIDER": "subprocess",
    }


def test_what_uv_was_told_itself_stays() -> None:
    settings = {"index-url": "https://a", "cert": "/ca.pem", "proxy": "http://p:1", "timeout": "soon", "pre": "no"}
    told = {"UV_INDEX_URL": "https://b", "SSL_CERT_FILE": "/b.pem", "all_proxy": "http://q:1"}
    assert pip_settings.variables(settings, told) == {}
    assert pip_settings.flags({"no-index": "1"}, told) == []


def test_other_programs_certificates_count_where_pip_has_none() -> None:
    other = {"CURL_CA_BUNDLE": "/curl.pem", "REQUESTS_CA_BUNDLE": "/requests.pem"}
    assert pip_settings.variables({}, other) == {"SSL_CERT_FILE": "/requests.pem"}
    assert pip_settings.variables({"cert": "/pip.pem"}, other) == {"SSL_CERT_FILE": "/pip.pem"}


def test_what_uv_has_no_variable_for_is_a_flag() -> None:
    settings = {"no-index": "yes", "no-binary": "a,b", "only-binary": ":all:"}
    assert pip_settings.flags(settings, {}) == [
        *("--no-index", "--no-binary", "a", "--no-binary", "b", "--only-binary", ":all:")
    ]


# -- a real index


class Index(ThreadingHTTPServer):
    """An index over HTTPS with one package; `password`: what it asks everybody for."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.password = password
        self.wheel = wheel(folder, "tinything", "1.0")
        pair, self.authority = certificates.make_issued(folder)
        super().__init__(("127.0.0.1", 0), _Answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.chain, pair.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust us is what some tests want."""


class _Answer(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        wanted = "Basic " + base64.b64encode(f"me:{self.server.password}".encode()).decode()
        if self.server.password and self.headers.get("Authorization") != wanted:
            self._send(401, b"")
            return
        content = self.server.wheel.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        body = content if self.path.endswith(".whl") else _page(self.server.wheel.name, digest)
        known = "tinything" in self.path
        self._send(200 if known else 404, body if known else b"", "application/zip" if body is content else "text/html")

    def _send(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", "Basic")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _page(name: str, digest: str) -> bytes:
    return f'<a href="/files/tinything/{name}#sha256={digest}">{name}</a>'.encode()


def wheel(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def index(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Index]:
    server = Index(tmp_path / "index", getattr(request, "param", ""))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def resolve(
    folder: Path, environ: Mapping[str, str], lines: list[str] | None = None, wanted: str = "tinything"
) -> Lock:
    write(folder / "requirements.txt", wanted + "\n")
    text = f'build:\n  python_version: "{OWN}"\n  python_requirements: requirements.txt\nrun: "run.py:run"\n'
    write(folder / "cog.yaml", text)
    environ = {**BARE, "HOME": str(folder / "home"), "UV_CACHE_DIR": str(folder / "uv"), **environ}
    report = (lines if lines is not None else []).append
    return environment.resolve(config.load(folder), folder, OWN, environ=environ, report=report)


def told(index: Index, **more: str) -> dict[str, str]:
    address = f"https://127.0.0.1:{index.server_port}/simple"
    return {"PIP_INDEX_URL": address, "PIP_CONFIG_FILE": os.devnull, "UV_HTTP_RETRIES": "0", **more}


def test_a_certificate_of_ones_own_is_trusted_by_any_of_its_names(index: Index, tmp_path: Path) -> None:
    with pytest.raises(environment.ResolveError):
        resolve(tmp_path / "untrusted", told(index))
    chain = index.authority
    pem = chain.read_text()
    for number, named in enumerate(
        (
            {"PIP_CERT": str(chain)},
            {"REQUESTS_CA_BUNDLE": str(chain)},
            {"SSL_CERT_FILE": str(chain)},
            {"COG_CA_CERT": str(chain)},
            {"COG_CA_CERT": str(chain.parent)},
            {"COG_CA_CERT": pem},
            {"COG_CA_CERT": base64.b64encode(pem.encode()).decode()},
            {"PIP_TRUSTED_HOST": "127.0.0.1"},
        )
    ):
        lock = resolve(tmp_path / f"p{number}", told(index, **named))
        assert lock.text.startswith("tinything==1.0 \\\n    --hash=sha256:"), named
        assert str(index.server_port) not in lock.text


def test_a_certificate_that_is_none_is_told_in_cogs_words(index: Index, tmp_path: Path) -> None:
    with pytest.raises(environment.ResolveError) as caught:
        resolve(tmp_path / "p", told(index, COG_CA_CERT="nothing"))
    assert caught.value.detail == (
        "COG_CA_CERT: invalid value - must be a file path, directory, PEM certificate, or base64-encoded PEM"
    )


@pytest.mark.parametrize("index", ["s3cret"], indirect=True)
def test_a_password_is_used_and_kept_in_no_file(index: Index, tmp_path: Path) -> None:
    address = f"127.0.0.1:{index.server_port}"
    folder = tmp_path / "p"
    with pytest.raises(environment.ResolveError):
        resolve(folder, told(index, PIP_CERT=str(index.authority)))
    netrc = write(folder / "home" / ".netrc", "machine 127.0.0.1 login me password s3cret\n")
    first = resolve(folder, told(index, PIP_CERT=str(index.authority)))
    assert first.hashed
    netrc.unlink()
    conf = write(
        folder / "home/.config/pip/pip.conf",
        f"[global]\nindex-url = https://me:s3cret@{address}/simple\ncert = {index.authority}\n",
    )
    lines: list[str] = []
    # It is the same index: the lock holds.
    assert resolve(folder, {}, lines) == first
    assert lines == []
    second = resolve(tmp_path / "q", {"PIP_CONFIG_FILE": str(conf)})
    python = environments.ensure(
        second, tmp_path / "environments", environ={**BARE, "PIP_CONFIG_FILE": str(conf), "HOME": str(tmp_path)}
    )
    assert (python.parent.parent / "lib" / f"python{OWN}" / "site-packages" / "tinything.py").exists()
    conf.unlink()
    kept = [*folder.glob(".cog/**/*"), *(tmp_path / "q").glob(".cog/**/*"), *(tmp_path / "environments").glob("**/*")]
    assert len(kept) > 3
    for path in kept:
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path


# -- a lock for each of what was told


def test_several_folders_of_wheels_and_no_index(tmp_path: Path) -> None:
    one, two = wheel(tmp_path / "one", "tinything", "1.0"), wheel(tmp_path / "two", "otherthing", "2.0")
    places = f"{one.parent} {tmp_path}/gone {two.parent}"
    environ = {"PIP_FIND_LINKS": places, "PIP_NO_INDEX": "1"}
    lock = resolve(tmp_path / "p", environ, wanted="tinything\notherthing")
    assert "tinything==1.0" in lock.text
    assert "otherthing==2.0" in lock.text
    assert str(tmp_path) not in lock.text
    with pytest.raises(environment.ResolveError, match="six"):
        resolve(tmp_path / "q", environ, wanted="six")


def test_a_lock_is_made_anew_when_what_uv_is_told_changes(tmp_path: Path) -> None:
    wheel(tmp_path / "w", "tinything", "1.0")
    wheel(tmp_path / "w", "tinything", "2.0")
    limits = write(tmp_path / "limits.txt", "tinything<2\n")
    folder, base = tmp_path / "p", {"PIP_FIND_LINKS": str(tmp_path / "w"), "PIP_NO_INDEX": "1"}
    lines: list[str] = []
    assert "tinything==2.0" in resolve(folder, base, lines).text
    assert "tinything==1.0" in resolve(folder, {**base, "UV_RESOLUTION": "lowest"}, lines).text
    limited = resolve(folder, {**base, "PIP_CONSTRAINT": str(limits)}, lines)
    assert "tinything==1.0" in limited.text
    # A limit is no requirement of the environment, and has no hash.
    environ = {**BARE, **base, "PIP_CONSTRAINT": str(limits), "UV_CACHE_DIR": str(tmp_path / "uv")}
    assert environments.ensure(limited, tmp_path / "environments", environ=environ).exists()
    limits.write_text("tinything<3\n")
    assert "tinything==2.0" in resolve(folder, {**base, "PIP_CONSTRAINT": str(limits)}, lines).text
    resolving = len(lines)
    assert "tinything==2.0" in resolve(folder, base, lines).text
    assert len(lines) == resolving


def test_what_a_lock_depends_on_has_no_password() -> None:
    said = uv.choices({"UV_INDEX_URL": "https://me:s3cret@host/simple", "PIP_CONFIG_FILE": os.devnull, "HOME": "/none"})
    assert said == "UV_INDEX_URL=https://host/simple"
    assert uv.choices({"UV_CACHE_DIR": "/c", "UV_LINK_MODE": "copy", "PIP_CONFIG_FILE": os.devnull, "HOME": "/n"}) == ""


def test_an_old_copy_in_another_index_hides_nothing(tmp_path: Path) -> None:
    """As with torch's own index, which has an old copy of many packages: pip takes the best of all indexes."""
    for number, version in enumerate(("1.0", "2.0")):
        place = tmp_path / f"index{number}"
        made = wheel(place / "tinything", "tinything", version)
        write(place / "tinything" / "index.html", f'<a href="{made.name}">{made.name}</a>')
    old, new = (f"file://{tmp_path}/index{number}" for number in (0, 1))
    wanted = f"--extra-index-url {old}\ntinything==2.0"
    lock = resolve(tmp_path / "p", {"PIP_INDEX_URL": new}, wanted=wanted)
    assert lock.text.startswith(f"--extra-index-url {old}\ntinything==2.0")
    environ = {**BARE, "PIP_INDEX_URL": new, "UV_CACHE_DIR": str(tmp_path / "uv")}
    python = environments.ensure(lock, tmp_path / "environments", environ=environ)
    module = python.parent.parent / "lib" / f"python{OWN}" / "site-packages" / "tinything.py"
    assert module.read_text() == "version = '2.0'\n"
    with pytest.raises(environment.ResolveError, match="tinything"):
        resolve(tmp_path / "q", {"PIP_INDEX_URL": new, "UV_INDEX_STRATEGY": "first-index"}, wanted=wanted)


@pytest.mark.parametrize(("told", "line"), [("auto", "cpu"), ("cu124", "cu124"), ("", None)])
def test_a_lock_names_the_index_of_the_builds_of_torch_where_somebody_asks_for_them(
    tmp_path: Path, told: str, line: str | None
) -> None:
    wheel(tmp_path / "w", "torch", "2.5.1")
    asked = {"PIP_FIND_LINKS": str(tmp_path / "w"), "UV_TORCH_BACKEND": told, "UV_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    lock = resolve(tmp_path / "p", asked, wanted="torch==2.5.1")
    before, _, packages = lock.text.partition("torch==2.5.1")
    assert before == "".join(f"{option}\n" for option in (wheels.options(line, lock.text) if line else []))
    assert packages.startswith(" \\\n    --hash=")
    assert bool(before) == (line is not None)
