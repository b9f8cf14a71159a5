"""A base image from Debian's packages, without any registry, as an OCI layout: `make base-image OUT=FOLDER`.

SUITE=bookworm                   which Debian; by default this machine's, else bookworm
PACKAGES="ffmpeg libgomp1"       what else it is to have
MIRROR=http://deb.example/debian where from; by default from where mmdebstrap takes it
SOURCE_DATE_EPOCH=0              the time of everything in it: the same packages give the same image
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from modelyard.oci.layers import Layer, compress
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import (
    CONFIG,
    MANIFEST,
    Config,
    Descriptor,
    Manifest,
    digest_of,
    render,
    render_config,
)
from modelyard.packaging.base import PYTHON_LABEL

ALWAYS = ("python3", "ca-certificates")
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
PYTHON = re.compile(r"\./usr/bin/python(3\.\d+)")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def suite() -> str:
    """The Debian to take when nobody says which."""
    try:
        told = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
    except OSError:
        told = {}
    return told.get("VERSION_CODENAME", "bookworm") if told.get("ID") == "debian" else "bookworm"


def pack(root: Path, packages: tuple[str, ...], environ: dict[str, str]) -> None:
    """Let mmdebstrap write the root folder's archive."""
    include = ",".join([*ALWAYS, *packages])
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={include}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    # What a tool left that writes times and names of this machine.
    command += ['--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf" "$1"/var/log/*.log "$1"/var/log/apt/*']
    command += [environ.get("SUITE") or suite(), str(root), *filter(None, [environ.get("MIRROR")])]
    subprocess.run(command, env={"SOURCE_DATE_EPOCH": "0", **environ}, check=True)


def python_of(root: Path) -> tuple[str, str]:
    """The path of its Python, and the minor."""
    with tarfile.open(root) as archive:
        for member in archive:
            if found := PYTHON.fullmatch(member.name):
                return member.name[1:], found[1]
    raise SystemExit("error: there is no /usr/bin/python3.N in what mmdebstrap made")


def write(layer: Layer, python: tuple[str, str], architecture: str, out: Path) -> str:
    """The layout with the image, called `latest`; gives its digest."""
    layout = Layout(out)
    layout.add(layer)
    config = render_config(
        Config(
            architecture=architecture,
            labels={PYTHON_LABEL: " ".join(python)},
            environment=(PATH,),
            diff_ids=(layer.diff_id,),
            command=("bash",),
        )
    )
    manifest = render(
        Manifest(
            config=Descriptor(media_type=CONFIG, digest=layout.put(config), size=len(config)),
            layers=(layer.descriptor,),
        )
    )
    layout.put(manifest)
    described = Descriptor(
        media_type=MANIFEST, digest=digest_of(manifest), size=len(manifest), platform=f"linux/{architecture}"
    )
    layout.name(described, "latest")
    return described.digest


def main(out: Path) -> int:
    if shutil.which("mmdebstrap") is None:
        print("error: mmdebstrap is not installed", file=sys.stderr)
        print("hint: on Debian and Ubuntu: apt-get install mmdebstrap", file=sys.stderr)
        return 1
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="modelyard-base-") as scratch:
        root = Path(scratch) / "root.tar"
        try:
            pack(root, tuple(os.environ.get("PACKAGES", "").split()), dict(os.environ))
        except subprocess.CalledProcessError as error:
            print(f"error: mmdebstrap ended with status {error.returncode}", file=sys.stderr)
            return 1
        python = python_of(root)
        with root.open("rb") as source:
            layer = compress(source, Path(scratch) / "layer.tar.gz", level=6)
        digest = write(layer, python, architecture, out)
    print(f"{out}: Debian with {python[0]}, {digest}")
    print(f"yard build --base-image oci:{out}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("usage: make base-image OUT=FOLDER")
    sys.exit(main(Path(sys.argv[1]).absolute()))
