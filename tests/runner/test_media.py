"""Files on their way in: URLs of every manner, names, and addresses that are off limits."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard_runner import fetch, media
from modelyard_runner.folder import Folder
from tests.runner.harness import worker


class Files(http.server.BaseHTTPRequestHandler):
    """A server of files, good and bad."""

    asked: list[str] = []  # noqa: RUF012 - shared on purpose: what was asked for
    leaving = threading.Event()

    def do_GET(self) -> None:
        Files.asked.append(self.path)
        port = self.server.server_address[1]
        name = self.path.split("?")[0].rsplit("/", 1)[-1]
        if name == "missing.png":
            self.send_error(404)
        elif name == "again.txt" and Files.asked.count(self.path) < 3:
            self.send_error(503)
        elif name == "hop.png":
            self.answer(302, b"", Location=f"http://127.0.0.1:{port}/final.jpg")
        elif name == "away.png":
            self.answer(302, b"", Location=f"http://127.0.0.2:{port}/final.jpg")
        elif name == "circle":
            self.answer(302, b"", Location="/circle")
        elif name == "elsewhere":
            self.answer(302, b"", Location="file:///etc/passwd")
        elif name == "short.bin":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"only this")
        elif name == "silent":
            Files.leaving.wait(20)
        elif name in ("drips.bin", "drips-head"):
            if name == "drips.bin":
                self.send_response(200)
                self.end_headers()
            with contextlib.suppress(OSError):
                while not Files.leaving.wait(0.05):
                    self.wfile.write(b"x")
        elif name == "typed":
            self.answer(200, b"png", **{"Content-Type": "image/png; charset=x"})
        else:
            self.answer(200, f"{name} {self.headers.get('Authorization', '')}".strip().encode())

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        """One whole answer."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    Files.leaving.set()
    server.shutdown()


def get(url: str, folder: Path, allowed: object = fetch.anywhere) -> Path:
    """One file, fetched."""
    return Path(fetch.fetch(url, lambda name: str(folder / name), allowed=allowed))  # type: ignore[arg-type]


def test_a_file_keeps_its_name(site: str, tmp_path: Path) -> None:
    for path, name in [
        ("/a%20b.png?sig=1", "a b.png"),
        ("/x/y/photo.jpg", "photo.jpg"),
        ("/typed", "typed.png"),
        ("/%2e%2e", "file"),
        ("/a%2Fb", "a_b"),
        ("/", "file"),
    ]:
        assert get(site + path, tmp_path).name == name


def test_a_redirect_is_followed_and_the_first_name_kept(site: str, tmp_path: Path) -> None:
    got = get(f"{site}/hop.png", tmp_path)
    assert got.name == "hop.png"
    assert got.read_text() == "final.jpg"


def test_a_name_and_password_in_the_url_are_sent(site: str, tmp_path: Path) -> None:
    assert get(site.replace("://", "://me:pw@") + "/f.txt", tmp_path).read_text() == "f.txt Basic bWU6cHc="


def test_a_server_that_is_busy_is_asked_again(site: str, tmp_path: Path) -> None:
    assert get(f"{site}/again.txt", tmp_path).read_text() == "again.txt"


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/missing.png", "404 Not Found"),
        ("/circle", "more than 10 redirects"),
        ("/elsewhere", "redirected to something that is no http or https URL"),
        ("/short.bin", "it broke off after 9 of 100 bytes"),
    ],
)
def test_what_cannot_be_had_says_why(site: str, tmp_path: Path, path: str, fault: str) -> None:
    with pytest.raises(media.FetchError, match=fault):
        get(site + path, tmp_path)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/silent", "no answer within 0.3 seconds"),
        ("/drips-head", "no answer within 0.3 seconds"),
        ("/drips.bin", r"only \d+ bytes came in 0.3 seconds"),
    ],
)
def test_what_hangs_or_comes_in_drops_is_given_up(site: str, tmp_path: Path, path: str, fault: str) -> None:
    with pytest.raises(media.FetchError, match=fault):
        fetch.fetch(site + path, lambda name: str(tmp_path / name), allowed=fetch.anywhere, patience=0.3)


def test_a_host_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(media.FetchError, match="no connection"):
        get("http://127.0.0.1:1/x", tmp_path)
    with pytest.raises(media.FetchError, match="is not known"):
        get("http://no-such-host.invalid/x", tmp_path)


def test_a_redirect_to_an_address_that_is_off_limits_is_not_followed(site: str, tmp_path: Path) -> None:
    Files.asked.clear()
    with pytest.raises(media.FetchError, match=r"127\.0\.0\.2, which is not a public address"):
        get(f"{site}/away.png", tmp_path, lambda address: address == "127.0.0.1")
    assert Files.asked == ["/away.png"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert fetch.is_public(address) is public


def test_a_worker_refuses_private_addresses_when_told_to(site: str) -> None:
    with worker("files_in.py:describe", private_urls=False) as one:
        error = one.run({"path": f"{site}/x.png"})["error"]
        assert error.startswith(
            f"input 'path' could not be fetched: {site}/x.png: 127.0.0.1 is at 127.0.0.1, which is not"
        )
        assert one.output({"path": "data:,x"}, "p2") == ["Path", "file.txt", "x"]


def test_a_worker_fetches_urls_several_at_once_and_each_once(site: str) -> None:
    with worker("files_in.py:many") as one:
        Files.asked.clear()
        urls = [f"{site}/n{number}.txt" for number in range(12)]
        assert one.output({"paths": [*urls, urls[0]]}) == [[f"n{n}.txt", f"n{n}.txt"] for n in [*range(12), 0]]
        assert sorted(Files.asked) == sorted(url.removeprefix(site) for url in urls)


def test_a_failed_download_names_the_input(site: str) -> None:
    with worker("files_in.py:many") as one:
        frame = one.run({"paths": [f"{site}/ok.txt", f"{site}/missing.png"]})
        assert frame["kind"] == "failed"
        assert frame["error"] == f"input 'paths' could not be fetched: {site}/missing.png: 404 Not Found"
        assert frame["traceback"] == ""


def test_a_pattern_that_the_schema_had_no_words_for_is_checked(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        "from cog import Input\n\n\ndef run(words: list[str] = Input(regex='^(a)?(?(1)b|c)$')) -> str:\n"
        "    return ' '.join(words)\n"
    )
    with worker("run.py:run", root=tmp_path) as one:
        assert one.output({"words": ["ab", "c"]}) == "ab c"
        frame = one.run({"words": ["ab", "b"]}, "p2")
        assert frame["error"] == "input 'words': 'b' does not match the pattern '^(a)?(?(1)b|c)$'"
        assert frame["traceback"] == ""


def test_names_are_names() -> None:
    long = media.safe_name("ü" * 300 + ".png")
    assert len(long.encode()) <= media.LONGEST_NAME
    assert long.endswith("~.png")
    assert media.safe_name("a/b\0c") == "a_b_c"
    assert media.safe_name("..") == "file"


def test_types_and_endings_agree() -> None:
    assert media.content_type("x.PNG") == "image/png"
    assert media.content_type("x.jpeg") == "image/jpeg"
    assert media.content_type("x") == "application/octet-stream"
    assert media.ending_of("audio/wav; rate=1") == ".wav"
    assert media.ending_of("text/plain") == ".txt"
    assert media.ending_of("nonsense/nothing") == ""


def test_a_predictions_folder_is_made_only_for_names(tmp_path: Path) -> None:
    for bad in ("", ".", "..", "a/b", "a\0b"):
        with pytest.raises(ValueError, match="is not a name"):
            Folder(str(tmp_path), bad).new("inputs", "x")
    assert not list(tmp_path.iterdir())
