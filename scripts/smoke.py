"""Run a yard from an installed wheel: start it, push the project that `yard init` makes, run it, stop the yard.

Called by scripts/smoke in an empty folder with nothing of the checkout in reach; only the standard library is used.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

TOKEN = "r8_" + "smoke" * 7 + "ab"
PATIENCE_SECONDS = 120.0


def main() -> int:
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"MODELYARD_ADMIN_TOKEN": TOKEN, "MODELYARD_URL": url, "MODELYARD_TOKEN": TOKEN}
    environment["MODELYARD_BASE_IMAGE"] = "none"  # it runs here, and there may be no way to a registry
    _yard("--version")
    yard = subprocess.Popen(
        ["env", *_pairs(environment), "yard", "up", "--port", str(port), "--data", "data"], stdin=subprocess.DEVNULL
    )
    try:
        _wait_until_ready(url, yard)
        _yard("init", "hello")
        _yard("run", "-i", "text=smoke", folder=Path("hello"))
        _yard("push", "yard/hello", environment=environment, folder=Path("hello"))
        prediction = _predict(url)
        print(f"smoke: {prediction['status']}: {prediction['output']!r}")
    finally:
        yard.send_signal(signal.SIGTERM)
        status = yard.wait(timeout=PATIENCE_SECONDS)
    print(f"smoke: yard ended with {status}")
    return 0 if prediction["status"] == "succeeded" and status == 0 else 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _pairs(environment: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


def _yard(*arguments: str, environment: dict[str, str] | None = None, folder: Path | None = None) -> None:
    subprocess.run(["env", *_pairs(environment or {}), "yard", *arguments], cwd=folder, check=True)


def _wait_until_ready(url: str, yard: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if yard.poll() is not None:
            sys.exit(f"smoke: the yard ended with {yard.returncode} before it was ready")
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=5) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    sys.exit("smoke: the yard was not ready in time")


def _predict(url: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    model = _ask(urllib.request.Request(f"{url}/v1/models/yard/hello", headers=headers))
    inputs = model["latest_version"]["openapi_schema"]["components"]["schemas"]["Input"]
    body = {"version": model["latest_version"]["id"], "input": dict.fromkeys(inputs.get("required", []), "smoke")}
    request = urllib.request.Request(
        f"{url}/v1/predictions",
        data=json.dumps(body).encode(),
        headers={**headers, "Content-Type": "application/json", "Prefer": "wait=60"},
    )
    return _ask(request)


def _ask(request: urllib.request.Request) -> dict:
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as reply:
        return json.load(reply)


if __name__ == "__main__":
    sys.exit(main())
