"""Where a value comes from, and what is said of one that does not fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modelyard import settings
from modelyard.errors import UsageError

TOKEN = "r8_" + "a" * 37


def load(cwd: Path, flags: dict[str, object] | None = None, **environ: str) -> tuple[settings.Settings, dict[str, str]]:
    environ.setdefault("HOME", str(cwd / "home"))
    return settings.load(flags or {}, environ, cwd)


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("keep_outputs", "30", "wanted: a duration such as 90s, 45m, 12h, 30d"),
        ("keep_files", 30, "wanted: a duration such as"),
        ("keep_predictions", "200000d", "wanted: at most a hundred years, or forever"),
        ("keep_unused", "ten", "wanted: a size such as 500MB, 10GB"),
        ("keep_backups", "0", "wanted: a whole number from 1 to 1000"),
    ],
)
def test_what_housekeeping_keeps_is_checked(name: str, raw: object, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as refused:
        settings.parse(name, raw, f"--{name}")
    assert f"--{name} is {raw!r}" in str(refused.value)


def test_nobody_said_anything(tmp_path: Path) -> None:
    found, origins = load(tmp_path, XDG_DATA_HOME=str(tmp_path / "share"))
    assert (found.host, found.port, found.public_url, found.fsync) == ("127.0.0.1", 9273, None, "power")
    assert found.data == tmp_path / "share" / "modelyard"
    assert found.database == f"sqlite:///{found.data}/yard.db"
    assert set(origins.values()) == {"default"}
    assert list(origins) == settings.names()


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "yard.toml").write_text('host = "0.0.0.0"\nport = 1\nowner = "file"\n')
    found, origins = load(tmp_path, {"port": "3", "owner": None}, MODELYARD_PORT="2", MODELYARD_OWNER="env")
    assert (found.host, found.port, found.owner) == ("0.0.0.0", 3, "env")
    assert origins["host"] == str(tmp_path / "yard.toml")
    assert origins["port"] == "--port"
    assert origins["owner"] == "MODELYARD_OWNER"


def test_the_file_of_the_working_folder_wins_over_that_of_the_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "yard.toml").write_text('data = "data"\nport = 1\n')
    (tmp_path / "data" / "yard.toml").write_text("port = 2\ndrain_seconds = 5\n")
    found, origins = load(tmp_path)
    assert (found.data, found.port, found.drain_seconds) == (tmp_path / "data", 1, 5)
    assert origins["drain_seconds"] == str(tmp_path / "data" / "yard.toml")


def test_the_data_folder_cannot_move_itself(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "yard.toml").write_text('data = "elsewhere"\n')
    with pytest.raises(UsageError, match="where the data folder is"):
        load(tmp_path, {"data": str(tmp_path / "data")})


def test_a_working_folder_that_is_the_data_folder_has_one_file(tmp_path: Path) -> None:
    (tmp_path / "yard.toml").write_text('data = "."\nport = 7\n')
    found, _ = load(tmp_path)
    assert (found.data, found.port) == (tmp_path, 7)


def test_a_relative_data_folder_is_below_the_working_folder(tmp_path: Path) -> None:
    assert load(tmp_path, {"data": "here"})[0].data == tmp_path / "here"


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, MODELYARD_PORT="")[0].port == 9273


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "x"),
        ("port", "70000"),
        ("port", "-1"),
        ("port", "1.5"),
        ("public_url", "yard.example.org"),
        ("public_url", "http://"),
        ("public_url", "http://[::1"),
        ("public_url", "https://example.org/yard"),
        ("public_url", "https://ada@yard.example.org"),
        ("database", "mysql://x"),
        ("fsync", "never"),
        ("engine", "podman"),
        ("docker_outgoing", "yes"),
        ("docker_root", "rw"),
        ("docker_link", "tcp"),
        ("docker_link", "tcp:host.docker.internal"),
        ("docker_link", "unix:/x"),
        ("docker_registry", "http://127.0.0.1:9273"),
        ("docker_registry", "yard.example.org:0"),
        ("blobs", "s3:/bucket"),
        ("blobs", "s3://"),
        ("blobs", "s3://Bucket"),
        ("blobs", "s3://bucket//x"),
        ("blobs", "s3://bucket/.hidden"),
        ("blobs", "s3://bucket/" + "x" * 201),
        ("blobs", "gs://bucket"),
        ("s3_endpoint", "s3.example.org"),
        ("s3_style", "virtual"),
        ("owner", "Ada Lovelace"),
        ("admin_token", "r8_short"),
        ("idle_timeout_seconds", "-1"),
        ("drain_seconds", "nan"),
        ("setup_timeout_seconds", "soon"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_the_place_it_is_from(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as by_flag:
        load(tmp_path, {name: value})
    assert by_flag.value.detail.startswith(f"{settings.flag(name)} is ")
    with pytest.raises(UsageError) as by_variable:
        load(tmp_path, {}, **{settings.variable(name): value})
    assert by_variable.value.detail.startswith(f"{settings.variable(name)} is ")
    assert "wanted: " in by_variable.value.detail


def test_a_wrong_value_in_the_file_is_named_by_file_and_key(tmp_path: Path) -> None:
    (tmp_path / "yard.toml").write_text("port = true\n")
    with pytest.raises(UsageError, match=r"yard\.toml: port is True; wanted: a whole number from 0 to 65535"):
        load(tmp_path)


def test_a_key_that_no_setting_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "yard.toml").write_text("prot = 1\n")
    with pytest.raises(UsageError, match="prot is no setting") as caught:
        load(tmp_path)
    assert caught.value.hint == "did you mean port?"


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yard.toml").write_text("port: 1\n")
    with pytest.raises(UsageError, match="is not TOML"):
        load(tmp_path)


def test_a_secret_is_not_repeated_when_it_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, MODELYARD_ADMIN_TOKEN="hunter2")
    assert "hunter2" not in caught.value.detail


def test_good_values_arrive_as_what_they_mean(tmp_path: Path) -> None:
    found, _ = load(
        tmp_path,
        {"public_url": "https://yard.example.org/", "idle_timeout_seconds": "1.5"},
        MODELYARD_ADMIN_TOKEN=TOKEN,
    )
    assert found.public_url == "https://yard.example.org"
    assert found.idle_timeout_seconds == 1.5
    assert found.admin_token == TOKEN


def test_homes_follow_the_platform_and_ignore_a_relative_one(tmp_path: Path) -> None:
    home = {"HOME": "/home/ada"}
    assert settings.data_home(home, "linux") == Path("/home/ada/.local/share/modelyard")
    assert settings.data_home(home, "darwin") == Path("/home/ada/Library/Application Support/modelyard")
    assert settings.cache_home(home, "linux") == Path("/home/ada/.cache/modelyard")
    assert settings.config_home({**home, "XDG_CONFIG_HOME": "/etc/ada"}, "darwin") == Path("/etc/ada/modelyard")
    assert settings.config_home({**home, "XDG_CONFIG_HOME": "here"}, "linux") == Path("/home/ada/.config/modelyard")


def test_a_password_in_a_database_address_is_not_shown() -> None:
    shown = settings.without_password("postgresql://yard:hunter2@localhost/yard")
    assert shown == "postgresql://yard:***@localhost/yard"
    assert settings.without_password("sqlite:////data/yard.db") == "sqlite:////data/yard.db"
