"""`COG_CA_CERT` and a build: the image trusts the authority, with and without an engine; and what a machine lends."""

from __future__ import annotations

import base64
import json
import os
import platform
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import bases
import certificates
import pytest
from docker_images import docker
from yard_process import Run

from modelyard.cli import build_secrets, steps
from modelyard.cli.certificates import BUNDLE, OWN
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import parse_config
from modelyard.packaging.recipe import architecture_of

# The first of these on a machine makes a Debian, which takes a minute or two.
pytestmark = pytest.mark.timeout(600)
NAME = f"modelyard-test/trusts-{os.getpid()}"
ARCHITECTURE = architecture_of(platform.machine())
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all of these: what their images have in common is made once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def authority(tmp_path: Path) -> str:
    """The text of a certificate."""
    return certificates.make(tmp_path).chain.read_text()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "run.py").write_text("def run(text: str) -> str:\n    return text\n")
    yield folder
    subprocess.run(["docker", "rmi", "-f", NAME, *steps.names(folder)], capture_output=True, check=False)


def write(folder: Path, python: str, *commands: str) -> None:
    told = "".join(f"    - {json.dumps(command)}\n" for command in commands)
    steps = f"  run:\n{told}" if told else ""
    (folder / "cog.yaml").write_text(f'build:\n  python_version: "{python}"\n{steps}run: "run.py:run"\n')


def test_an_image_trusts_it_without_any_engine(yard: Run, project: Path, tmp_path: Path, authority: str) -> None:
    base = bases.small(tmp_path / "base", architecture=ARCHITECTURE)
    write(project, bases.OWN)
    spelled = {
        "text": authority,
        "file": str(tmp_path / "chain.pem"),
        "base64": base64.b64encode(authority.encode()).decode(),
    }
    digests = set()
    for name, value in spelled.items():
        flags = ("-t", "m", "-o", name, "--base-image", f"oci:{base}")
        done = yard("build", *flags, cwd=project, COG_CA_CERT=value, **NO_ENGINE)
        assert done.returncode == 0, done.stderr
        layout = Layout(project / name)
        descriptor, manifest = layout.image(None, f"linux/{ARCHITECTURE}")
        digests.add(descriptor.digest)
        config = parse_config(layout.read(manifest.config))
        assert {f"SSL_CERT_FILE=/{BUNDLE}", f"REQUESTS_CA_BUNDLE=/{BUNDLE}"} <= set(config.environment)
        layer = manifest.layers[config.labels["org.modelyard.layers"].split().index("certificates")]
        with tarfile.open(layout.path(layer.digest)) as archive:
            texts = {member.name: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr]
        assert texts[OWN].strip() == authority.strip()
        assert authority.strip() in texts[BUNDLE]
        # What was written into the project is no part of the next image.
        subprocess.run(["rm", "-rf", str(project / name)], check=True)
    assert len(digests) == 1


def test_a_value_that_is_none_is_told_in_cogs_words(yard: Run, project: Path, tmp_path: Path) -> None:
    base = bases.small(tmp_path / "base", architecture=ARCHITECTURE)
    write(project, bases.OWN)
    done = yard("build", "--base-image", f"oci:{base}", cwd=project, COG_CA_CERT="nothing", **NO_ENGINE)
    assert done.returncode == 2
    told = "COG_CA_CERT: invalid value - must be a file path, directory, PEM certificate, or base64-encoded PEM"
    assert f"error: {told}\n" in done.stderr


def test_what_is_executed_trusts_it_too_and_the_systems_authorities_stay(
    yard: Run, project: Path, authority: str
) -> None:
    bases.require_engine()
    base = bases.debian()
    write(project, bases.python_of(base), "cat $SSL_CERT_FILE > /seen.pem")
    flags = ("-t", NAME, "--base-image", f"oci:{base}")
    done = yard("build", *flags, cwd=project, COG_CA_CERT=authority)
    assert done.returncode == 0, done.stderr
    assert authority.strip() in docker("run", "--rm", NAME, "cat", "/seen.pem")
    code = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    trusted = int(docker("run", "--rm", NAME, "python", "-c", code))
    own = int(docker("run", "--rm", NAME, "sh", "-c", "grep -c BEGIN /usr/local/share/ca-certificates/cog-ca-cert.crt"))
    assert trusted > 50 > own == 1


# What this machine lends


def test_commands_know_the_indexes_and_passwords_of_this_machine_and_the_image_does_not(
    yard: Run, project: Path, home: Path
) -> None:
    bases.require_engine()
    base = bases.debian()
    # This index does not answer; what the server needs is here then.
    write(project, bases.python_of(base))
    assert yard("build", "-t", NAME, "--base-image", f"oci:{base}", cwd=project).returncode == 0
    (home / ".netrc").write_text("machine pypi.example.org login me password s3cret\n")
    pip, uv = "index-url = https://me:p[a]ss@pypi.example.org/simple$", 'index-url = "https://me:p[a]ss@'
    asks = [f"grep '^{pip}' $PIP_CONFIG_FILE", f"grep '^{uv}' $UV_CONFIG_FILE", "grep s[3]cret $NETRC"]
    write(project, bases.python_of(base), f"({' && '.join(asks)}) > /dev/null")
    index = "https://me:pass@pypi.example.org/simple"
    done = yard("build", "-t", NAME, "--base-image", f"oci:{base}", cwd=project, PIP_INDEX_URL=index)
    assert done.returncode == 0, done.stderr
    script = "grep -rl -e s3cret -e me:pass /etc /root /run /src /opt /tmp; echo nothing; env"
    said = docker("run", "--rm", NAME, "sh", "-c", script)
    assert said.startswith("nothing\n")
    assert "modelyard/pip.conf" not in said
    assert "me:pass" not in docker("inspect", NAME) + docker("history", "--no-trunc", NAME)


def test_what_lies_on_this_machines_disk_is_no_index_for_a_container(tmp_path: Path) -> None:
    told = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "UV_INDEX": "mine=https://a.example/simple file:///b"}
    with build_secrets.borrowed(told, with_indexes=True) as lent:
        assert [each.id for each in lent.files] == ["modelyard-pip", "modelyard-uv"]
        text = Path(lent.flags[0].partition("src=")[2]).read_text()
    assert text == "[global]\nextra-index-url = https://a.example/simple\n"
