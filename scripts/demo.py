"""What `make run` does once everything is installed: a yard with the three example models, tried and kept running.

It starts `yard up` on the folder .yard of this checkout, pushes examples/*, runs each model through the official
`replicate` client, says what it did and what to try next, and serves until Ctrl-C. PORT in the environment says which
port, MODELYARD_DATA another folder; MODELYARD_ADMIN_TOKEN, if set, becomes the owner's token.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from replicate.client import Client
from replicate.exceptions import ReplicateError

from modelyard import ids, settings

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
ENVIRON = settings.environment()
DATA = Path(ENVIRON.get("MODELYARD_DATA") or ROOT / ".yard").absolute()
LOG = DATA / "yard.log"
RESULTS = DATA / "results"
YARD = Path(sys.executable).with_name("yard")
OWNER = "yard"
READY_SECONDS = 60
SHOWN_LOG_LINES = 15


class DemoError(Exception):
    """The demonstration cannot go on; the message says why."""


def main() -> int:
    DATA.mkdir(parents=True, exist_ok=True)
    token = ENVIRON.get("MODELYARD_ADMIN_TOKEN") or kept_token()
    port = ENVIRON.get("PORT") or str(settings.default("port"))
    url = f"http://127.0.0.1:{port}"
    signal.signal(signal.SIGTERM, as_interrupt)
    try:
        check_port(port)
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    yard = start(port, ENVIRON | {"MODELYARD_ADMIN_TOKEN": token, "MODELYARD_OWNER": OWNER})
    try:
        wait_until_ready(url, yard)
        show(url, token)
        print("\nServing. Ctrl-C stops it; `make run` starts it again with everything it has.", flush=True)
        return yard.wait()
    except (DemoError, ReplicateError, OSError) as error:
        print(f"error: {error}\nhint: the yard's own words are in {short(LOG)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopping: what runs may finish; once more to stop at once.", flush=True)
        return 0
    finally:
        stop(yard)
        print("Stopped.", flush=True)


def kept_token() -> str:
    """The owner's token of this checkout's yard, made once; readable by this user alone."""
    path = DATA / "owner-token"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(ids.new_token())
    return path.read_text().strip()


def as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def check_port(port: str) -> None:
    """Refuse a port that is no port, or that somebody else serves on: our token would go there."""
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise DemoError(f"PORT is {port!r}; wanted: a number from 1 to 65535")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", int(port))) == 0:
            raise DemoError(f"port {port} is in use; choose another: make run PORT=…")


def start(port: str, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """The yard in a session of its own, so that Ctrl-C reaches it through us, once."""
    with LOG.open("ab") as log:
        return subprocess.Popen(
            [str(YARD), "up", "--port", port, "--data", str(DATA)],
            cwd=DATA,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait_until_ready(url: str, yard: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        # Whoever else answers on this port is not the yard that we started.
        if yard.poll() is not None:
            last = LOG.read_text(errors="replace").splitlines()[-SHOWN_LOG_LINES:]
            raise DemoError("the yard did not start:\n  " + "\n  ".join(last))
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=2) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.05)
    raise DemoError(f"the yard was not ready within {READY_SECONDS} seconds")


def show(url: str, token: str) -> None:
    """Push the examples, run each, and say so."""
    RESULTS.mkdir(exist_ok=True)
    print(f"The yard runs at {url}, its data is in {short(DATA)}", flush=True)
    client = Client(api_token=token, base_url=url)
    login = ENVIRON | {"MODELYARD_URL": url, "MODELYARD_TOKEN": token}
    for name, try_out in TRIALS.items():
        seconds, _ = timed(partial(push, name, login))
        print(f"\n{OWNER}/{name}: pushed in {seconds:.1f} s", flush=True)
        seconds, said = timed(partial(try_out, client))
        print(f"  replicate.run({OWNER + '/' + name!r}, …) in {seconds:.1f} s:")
        print("".join(f"    {line}\n" for line in said.splitlines()), end="", flush=True)
    print(next_steps(url, token), flush=True)


def short(path: Path) -> Path:
    """As seen from the checkout."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started_at = time.monotonic()
    result = work()
    return time.monotonic() - started_at, result


def push(name: str, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [str(YARD), "push", f"{OWNER}/{name}"],
        cwd=EXAMPLES / name,
        env={"MODELYARD_BASE_IMAGE": "none", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DemoError(f"{OWNER}/{name} could not be pushed:\n{done.stdout.rstrip()}")


def try_hello(client: Client) -> str:
    return str(client.run(f"{OWNER}/hello-world", input={"text": "world"}))


def try_photo(client: Client) -> str:
    with (EXAMPLES / "photo" / "samples" / "lake.jpg").open("rb") as photograph:
        made: Any = client.run(f"{OWNER}/photo", input={"image": photograph, "effect": "edges", "width": 800})
    path = RESULTS / "edges.jpg"
    path.write_bytes(fetched(made))
    return f"the lake as a drawing: {short(path)} ({path.stat().st_size // 1000} kB)"


def fetched(output: object) -> bytes:
    """The bytes of an output file. Over http the client gives its address, over https an object that prints as one."""
    with urllib.request.urlopen(str(output), timeout=60) as reply:
        content: bytes = reply.read()
    return content


def try_read_text(client: Client) -> str:
    samples = EXAMPLES / "read-text" / "samples"
    with (samples / "receipt.jpg").open("rb") as receipt, (samples / "sign.jpg").open("rb") as sign:
        pages: Any = client.run(f"{OWNER}/read-text", input={"images": [receipt, sign]})
    (RESULTS / "receipt-marked.png").write_bytes(fetched(pages[0]["marked"]))
    said = pages[0]["text"] + "\n" + pages[1]["text"]
    return f"{said}\nwith every line marked: {short(RESULTS / 'receipt-marked.png')}"


TRIALS: dict[str, Callable[[Client], str]] = {
    "hello-world": try_hello,
    "photo": try_photo,
    "read-text": try_read_text,
}


def browser_link(url: str, token: str) -> str:
    """What signs one browser in, once."""
    asked = urllib.request.Request(f"{url}/v1/login-links", method="POST", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=10) as reply:
        return str(json.load(reply)["url"])


def next_steps(url: str, token: str) -> str:
    return f"""
Browser  {browser_link(url, token)}
         (signs one browser in, once, within 15 minutes)
Address  {url}
Token    {token}

Try next:
  {short(YARD)} login {url} --token {token}
  curl -s {url}/v1/models/{OWNER}/hello-world/predictions -H 'Authorization: Bearer {token}' \\
    -H 'Content-Type: application/json' -H 'Prefer: wait' -d '{{"input": {{"text": "you"}}}}'
  (cd examples/photo && {YARD} run -i image=@samples/lake.jpg -i effect=blur -i amount=8 -o /tmp/lake.jpg)"""


def stop(yard: subprocess.Popen[bytes]) -> None:
    """Ask the yard to stop; a second Ctrl-C asks it to stop at once."""
    for _ in range(2):
        if yard.poll() is not None:
            return
        yard.send_signal(signal.SIGINT)
        try:
            yard.wait()
        except KeyboardInterrupt:
            continue
    yard.kill()
    yard.wait()


if __name__ == "__main__":
    sys.exit(main())
