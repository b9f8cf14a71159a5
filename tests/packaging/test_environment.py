"""Locks and environments, with the real uv: resolved once, made once, whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.packaging import box, config, environment
from modelyard.packaging.requirements import RequirementsError
from modelyard.store import environments, pythons, uv
from modelyard.store.environments import EnvironmentFailedError, Lock

ENVIRON: Mapping[str, str] = dict(os.environ)
OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


def project(folder: Path, requirements: str, name: str = "requirements.txt") -> config.Config:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(requirements)
    text = f'build:\n  python_version: "{OWN}"\n  python_requirements: {name}\nrun: "run.py:run"\n'
    (folder / "cog.yaml").write_text(text)
    return config.load(folder)


def resolve(folder: Path, found: config.Config, lines: list[str] | None = None) -> Lock:
    report = (lines if lines is not None else []).append
    return environment.resolve(found, folder, OWN, environ=ENVIRON, report=report)


def imports(python: Path, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Lock:
    folder = tmp_path_factory.mktemp("six")
    return resolve(folder, project(folder, "six==1.17.0\n"))


# -- locks


def test_a_lock_has_hashes_for_every_package_and_no_address(six: Lock) -> None:
    assert re.match(r"six==1\.17\.0 \\\n    --hash=sha256:", six.text)
    assert "://" not in six.text
    assert six.hashed
    assert not six.empty


def test_the_same_requirements_are_resolved_once(tmp_path: Path) -> None:
    found = project(tmp_path, "six==1.17.0\n")
    lines: list[str] = []
    first = resolve(tmp_path, found, lines)
    assert lines == ["Resolving 1 requirement"]
    # with a uv that fails whatever it is asked, a second answer can only come from the cache
    broken = {**ENVIRON, "PATH": "/nonexistent", "UV_OFFLINE": "1", "UV_CACHE_DIR": "/dev/null/x"}
    again = environment.resolve(found, tmp_path, OWN, environ=broken, report=lines.append)
    assert again == first
    assert len(lines) == 1
    (tmp_path / "requirements.txt").write_text("# a comment\nsix==1.17.0   # the same\n\n")
    assert resolve(tmp_path, found, lines) == first
    assert len(lines) == 1
    assert (tmp_path / ".cog" / ".gitignore").read_text() == "*\n"


def test_no_requirements_give_an_empty_lock_without_uv(tmp_path: Path) -> None:
    found = project(tmp_path, "# nothing yet\n")
    lock = environment.resolve(found, tmp_path, OWN, environ={"UV_CACHE_DIR": "/dev/null/x"})
    assert lock == Lock(text="", python=OWN)
    assert lock.empty
    assert not (tmp_path / ".cog" / "locks").exists()


def test_cog_is_taken_out_with_a_warning(tmp_path: Path) -> None:
    found = project(
        tmp_path, "cog==0.9\ncoglet\ncog[tracing]>=0.20\ncognite-sdk-not\n".replace("cognite-sdk-not\n", "")
    )
    lines: list[str] = []
    assert resolve(tmp_path, found, lines).empty
    assert len(lines) == 3
    assert all(line.startswith("warning: ") for line in lines)
    assert (
        "'cog==0.9' found in requirements — overriding with latest cog from PyPI. Remove it from requirements and use "
        "build.sdk_version in cog.yaml or COG_SDK_WHEEL to control the version."
    ) in lines[0]


def test_requirements_without_a_solution_are_refused_in_uvs_words(tmp_path: Path) -> None:
    found = project(tmp_path, "six==1.17.0\nsix==1.16.0\n")
    with pytest.raises(environment.ResolveError, match=r"six"):
        resolve(tmp_path, found)
    assert not list((tmp_path / ".cog" / "locks").glob("*.txt"))


def test_a_line_that_is_no_requirement_is_told_of_the_authors_file(tmp_path: Path) -> None:
    found = project(tmp_path, "# mine\nsix\n\nscipy=1\n")
    with pytest.raises(environment.ResolveError) as caught:
        resolve(tmp_path, found)
    assert "in requirements.txt, in the line 'scipy=1'" in str(caught.value)
    assert ".cog" not in str(caught.value)


def test_an_archive_of_the_project_is_locked_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    wheel = _wheel(tmp_path / "wheels", "tinything")
    found = project(tmp_path, f"./{wheel.name} # ours\n", "wheels/requirements.txt")
    lock = resolve(tmp_path, found)
    assert f"./wheels/{wheel.name}" in lock.text
    assert lock.hashed
    # made elsewhere, from the unpacked source
    python = environments.ensure(lock, tmp_path / "environments", environ=ENVIRON, base=tmp_path)
    assert imports(python, "tinything")


@pytest.mark.parametrize(
    "name", ["flat.tar.xz", "tiny-1.0.tar.bz2", "flat.tgz", "flat.tar.gz", "with blanks.tar.xz", "with blanks.zip"]
)
def test_archives_without_a_folder_in_them_and_with_blanks_in_their_names_are_installed(
    tmp_path: Path, name: str
) -> None:
    found = project(tmp_path, f"./{name}  # ours\n")
    _archive(tmp_path / name, 'from setuptools import setup\nsetup(name="tiny", version="1.0", py_modules=["tiny"])\n')
    lock = resolve(tmp_path, found)
    assert lock.text.startswith(f"./{name} \\\n")
    assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() in lock.text
    python = environments.ensure(lock, tmp_path / "environments", environ=ENVIRON, base=tmp_path)
    assert imports(python, "tiny")


def test_an_archive_that_is_another_one_than_the_locks_is_not_installed(tmp_path: Path) -> None:
    found = project(tmp_path, "./flat.tar.xz\n")
    setup = 'from setuptools import setup\nsetup(name="tiny", version="1.0", py_modules=["tiny"])\n'
    _archive(tmp_path / "flat.tar.xz", setup)
    lock = resolve(tmp_path, found)
    _archive(tmp_path / "flat.tar.xz", setup + "# something else\n")
    with pytest.raises(EnvironmentFailedError, match=r"\./flat\.tar\.xz is not the archive that the lock"):
        environments.ensure(lock, tmp_path / "environments", environ=ENVIRON, base=tmp_path)


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.tar.xz").write_text("no archive")
    with pytest.raises(environment.ResolveError, match=r"bad\.tar\.xz is no \.tar\.xz archive"):
        resolve(tmp_path, project(tmp_path, "./bad.tar.xz\n"))


def _archive(path: Path, setup: str) -> None:
    files = {"setup.py": setup.encode(), "tiny.py": b"X = 5\n"}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        return
    kind = {".xz": "xz", ".bz2": "bz2"}.get(path.suffix, "gz")
    with tarfile.open(path, f"w:{kind}") as packed_tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed_tar.addfile(info, io.BytesIO(content))


def test_a_lock_has_the_name_of_a_password_and_never_the_password(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, "tinything")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://me:${{PW}}@127.0.0.1:{server.server_port}/{wheel.name}"
        found = project(tmp_path / "p", f"tinything @ {address}\n")
        lines: list[str] = []
        lock = environment.resolve(
            found, tmp_path / "p", OWN, environ={**ENVIRON, "PW": "s3cretword"}, report=lines.append
        )
        server.shutdown()
    assert "s3cretword" not in lock.text + "".join(lines)
    assert "${PW}" in lock.text


def test_words_of_uv_have_no_password_in_them(tmp_path: Path) -> None:
    address = "http://me:${PW}@127.0.0.1:9/thing-1.0-py3-none-any.whl"
    found = project(tmp_path, f"thing @ {address}\n")
    lines: list[str] = []
    # Nobody answers there, however often it is asked.
    environ = {**ENVIRON, "PW": "s3cretword", "UV_HTTP_RETRIES": "0"}
    with pytest.raises(environment.ResolveError) as caught:
        environment.resolve(found, tmp_path, OWN, environ=environ, report=lines.append)
    assert "s3cretword" not in str(caught.value) + "".join(lines)
    assert uv.masked("at https://me:pw@h/x and https://${A}:${B}@h") == "at https://***@h/x and https://${A}:${B}@h"


@pytest.mark.parametrize("name", ["COG_SDK_WHEEL", "COGLET_WHEEL"])
def test_wheels_of_cog_are_passed_over_and_missing_ones_refused(tmp_path: Path, name: str) -> None:
    found, lines = project(tmp_path, ""), list[str]()
    for value in ("pypi", "pypi:0.16.0", "dist", "https://host.example/cog.whl", str(tmp_path)):
        environment.resolve(found, tmp_path, OWN, environ={**ENVIRON, name: value}, report=lines.append)
        assert lines.pop() == f"warning: {name} is passed over: here the `cog` of this yard always runs"
    with pytest.raises(box.WheelMissingError, match=rf"{name}: path not found: missing\.whl"):
        environment.resolve(found, tmp_path, OWN, environ={**ENVIRON, name: "missing.whl"})


def test_pips_settings_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text("index-url = https://me:s3cretword@host.example/\n")
    lines: list[str] = []
    environ = {**ENVIRON, "PIP_CONFIG_FILE": str(conf)}
    environment.resolve(project(tmp_path, "six==1.17.0\n"), tmp_path, OWN, environ=environ, report=lines.append)
    told = next(line for line in lines if "pip's settings" in line)
    assert told.startswith(f"warning: pip's settings are passed over: {conf}: line 1 cannot be parsed")
    assert "s3cretword" not in told


def _wheel(folder: Path, name: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-r other.txt", "another one"),
        ("--constraint c.txt", "another one"),
        ("-e ./lib", "editable"),
        ("--extra-index-url https://me:secret@host.example/simple", "password"),
        ("thing @ https://me:secret@host.example/thing.whl", "password"),
        ("thing @ git+https://ghp_secret@host.example/thing", "password"),
        ("-e git+https://me:secret@host.example/thing", "password"),
        ("-r https://me:secret@host.example/other.txt", "password"),
        ("cog @ git+https://me:secret@host.example/cog", "password"),
        ("--extra-index-url https://0123456789secret0123456789@host.example/simple", "password"),
        ("--find-links ./wheels", "is not looked through"),
        ("-f wheels", "is not looked through"),
        ("./missing.whl", "no file inside"),
        ("../outside.whl", "no file inside"),
    ],
)
def test_what_cannot_be_in_a_version_is_refused(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "outside.whl").touch()
    with pytest.raises(RequirementsError, match=words) as caught:
        resolve(tmp_path / "p", project(tmp_path / "p", f"six\n{line}\n"))
    assert "secret" not in str(caught.value)


def test_lines_may_be_continued_and_the_project_itself_named(tmp_path: Path) -> None:
    found = project(tmp_path, "-e .\r\nsix \\\r\n  ==1.17.0 # pinned\r\n")
    assert resolve(tmp_path, found).text.startswith("six==1.17.0")


# -- environments


def test_an_environment_is_made_once_and_has_what_the_lock_says(tmp_path: Path, six: Lock) -> None:
    lines: list[str] = []
    python = environments.ensure(six, tmp_path, environ=ENVIRON, report=lines.append)
    assert imports(python, "six")
    assert not imports(python, "pip")
    made = len(lines)
    assert environments.ensure(six, tmp_path, environ=ENVIRON, report=lines.append) == python
    assert len(lines) == made
    assert not list(tmp_path.glob("*.partial"))


def test_an_empty_lock_gives_a_bare_python(tmp_path: Path) -> None:
    python = environments.ensure(Lock(text="", python=OWN), tmp_path, environ=ENVIRON)
    assert imports(python, "json")
    assert not imports(python, "six")


def test_another_lock_is_another_environment(six: Lock) -> None:
    assert environments.key_of(six, "3.11") != environments.key_of(six, "3.12")
    assert environments.key_of(six, "3.11") != environments.key_of(Lock(text="", python="3.11"), "3.11")


def test_a_package_whose_hash_is_not_the_locks_is_refused_and_nothing_stays(tmp_path: Path, six: Lock) -> None:
    forged = Lock(text=re.sub(r"[0-9a-f]{64}", "0" * 64, six.text), python=OWN)
    with pytest.raises(EnvironmentFailedError, match=r"(?i)hash"):
        environments.ensure(forged, tmp_path, environ={**ENVIRON, "UV_CACHE_DIR": str(tmp_path / "cache")})
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".lock", ".json") and path.name != "cache"]


def test_many_who_ask_at_once_get_the_one_that_the_first_made(tmp_path: Path, six: Lock) -> None:
    (tmp_path / "requirements.lock").write_text(six.text)
    code = _script(tmp_path, "print(environments.ensure(lock, root / 'e', environ=dict(os.environ), report=print))")
    children = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    outputs = [child.communicate(timeout=100)[0].splitlines() for child in children]
    assert [child.returncode for child in children] == [0] * 4
    assert len({output[-1] for output in outputs}) == 1
    assert sum(any(line.startswith("Making") for line in output) for output in outputs) == 1


def _script(root: Path, line: str) -> str:
    return textwrap.dedent(f"""
        import os
        from pathlib import Path
        from modelyard.store import environments
        root = Path({str(root)!r})
        lock = environments.Lock(text=(root / "requirements.lock").read_text(), python={OWN!r})
        {line}
    """)


@pytest.mark.parametrize("stage", ["Making", "six"])
def test_a_process_that_is_killed_while_it_makes_one_leaves_nothing_that_looks_whole(
    tmp_path: Path, six: Lock, stage: str
) -> None:
    (tmp_path / "requirements.lock").write_text(six.text)
    kill = f"""environments.ensure(lock, root / 'e', environ=dict(os.environ),
            report=lambda line: os.kill(os.getpid(), 9) if {stage!r} in line else None)"""
    done = subprocess.run([sys.executable, "-c", _script(tmp_path, kill)], check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL
    whole = [path for path in (tmp_path / "e").iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)]
    assert whole == []
    python = environments.ensure(six, tmp_path / "e", environ=ENVIRON)
    assert imports(python, "six")
    assert not list((tmp_path / "e").glob("*.partial"))


def test_an_environment_whose_python_is_gone_is_made_again(tmp_path: Path, six: Lock) -> None:
    python = environments.ensure(six, tmp_path, environ=ENVIRON)
    python.unlink()
    python.symlink_to("/nonexistent/python")
    assert environments.ensure(six, tmp_path, environ=ENVIRON) == python
    assert imports(python, "six")


def test_waiting_for_another_process_is_said(tmp_path: Path, six: Lock) -> None:
    import fcntl

    key = environments.key_of(six, OWN)
    lines: list[str] = []
    with (tmp_path / f"{key}.lock").open("w") as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        future = pool.submit(environments.ensure, six, tmp_path, environ=ENVIRON, report=lines.append)
        deadline = time.monotonic() + 30
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lines == ["Waiting for another process that makes this environment"]
        assert not future.done()
        fcntl.flock(held, fcntl.LOCK_UN)
        assert imports(future.result(60), "six")


def test_commands_that_resolve_at_once_wait_for_the_first_one(tmp_path: Path) -> None:
    found = project(tmp_path, "six==1.17.0\n")
    lines: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        locks = set(pool.map(lambda _: resolve(tmp_path, found, lines).text, range(4)))
    assert len(locks) == 1
    assert lines.count("Resolving 1 requirement") == 1
    assert (tmp_path / ".cog" / "cog.lock").exists()


def test_a_lock_of_cogs_is_waited_for_and_only_where_something_is_made(tmp_path: Path) -> None:
    import fcntl

    found = project(tmp_path, "six==1.17.0\n")
    lines: list[str] = []
    environment.cache_folder(tmp_path)
    with (tmp_path / ".cog" / "cog.lock").open("w") as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        future = pool.submit(resolve, tmp_path, found, lines)
        deadline = time.monotonic() + 30
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lines == ["Waiting for another command that builds in this folder"]
        fcntl.flock(held, fcntl.LOCK_UN)
        lock = future.result(60)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert resolve(tmp_path, found) == lock


# -- Pythons


def test_the_python_that_runs_us_is_found_without_a_process() -> None:
    found = pythons.find(OWN + ".99", {})
    assert (found.minor, found.warning) == (OWN, None)
    assert found.path.exists()


def test_a_python_that_is_nowhere_is_replaced_by_the_nearest_with_a_warning(tmp_path: Path) -> None:
    environ = {**ENVIRON, "UV_PYTHON_DOWNLOADS": "never"}
    memory = tmp_path / "pythons.json"
    found = pythons.find("3.99", environ, memory=memory)
    assert found.path.exists()
    assert found.warning is not None
    assert "3.99" in found.warning
    assert found.minor in found.warning
    assert pythons.find("3.99", {**environ, "UV_PYTHON_DOWNLOADS": "automatic"}, memory=memory) == found


def test_what_was_found_is_remembered_while_it_is_there(tmp_path: Path) -> None:
    fake = tmp_path / "pyenv" / "versions" / "3.98.2" / "bin" / "python3.98"
    fake.parent.mkdir(parents=True)
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    memory = tmp_path / "pythons.json"
    environ = {"PYENV_ROOT": str(tmp_path / "pyenv"), "PATH": "/nonexistent", "UV_PYTHON_DOWNLOADS": "never"}
    assert pythons.find("3.98", environ, memory=memory).path == fake
    assert pythons.find("3.98", {}, memory=memory).path == fake
    fake.unlink()
    assert pythons.find("3.98", environ, memory=memory).minor != "3.98"


@pytest.mark.parametrize("text", ["", "3", "latest", "3.x", "3.11; rm -rf /"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(pythons.NoPythonError, match="no Python version"):
        pythons.minor_of(text)


# -- uv


def test_pips_settings_reach_uv_where_it_has_none_of_its_own() -> None:
    given = {"PIP_INDEX_URL": "https://a.example", "PIP_CONFIG_FILE": os.devnull, "A": "1"}
    found = uv.environment({**given, "VIRTUAL_ENV": "/v"})
    assert found == {**given, "UV_DEFAULT_INDEX": "https://a.example"}
    assert "UV_DEFAULT_INDEX" not in uv.environment({**given, "UV_INDEX_URL": "https://b"})


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("x @ git+https://me:s3cr%2Ft@h/x@abc", "x @ git+https://me:${PW}@h/x@abc"),
        ("x @ https://s3cr%2Ft@h/x.whl", "x @ https://${PW}@h/x.whl"),
        ("s3cr==1.0", "s3cr==1.0"),
    ],
)
def test_a_password_that_uv_has_put_in_is_taken_out_again(lock: str, wanted: str) -> None:
    assert environment.without_passwords(lock, "x @ https://me:${PW}@h/${OTHER}", {"PW": "s3cr/t"}) == wanted
