"""What a yard and its commands are told from outside; the only reader of the environment.

A value comes from the first place that has it: a flag, a `MODELYARD_*` variable, `yard.toml` in the working folder,
`yard.toml` in the data folder, the default. `load` also says for each setting which place that was.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from modelyard import amounts
from modelyard.amounts import Duration, Size
from modelyard.errors import UsageError

FILE_NAME = "yard.toml"
_FORM_OF_TOKENS = r"r8_[A-Za-z0-9]{37}"
_HOST_FORM = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_OWNER_FORM = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"


def environment() -> dict[str, str]:
    """A copy of this process's environment, for whoever must hand it on."""
    return dict(os.environ)


def data_home(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where a yard keeps its data when nobody says otherwise."""
    return _home(environ, platform, "XDG_DATA_HOME", ".local/share", "Library/Application Support")


def config_home(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where the client keeps its login."""
    return _home(environ, platform, "XDG_CONFIG_HOME", ".config", "Library/Application Support")


def cache_home(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """What may be deleted at any time: environments made for `yard run` and `yard serve`."""
    return _home(environ, platform, "XDG_CACHE_HOME", ".cache", "Library/Caches")


def _home(environ: Mapping[str, str], platform: str, variable: str, linux: str, macos: str) -> Path:
    named = environ.get(variable, "")
    # The XDG specification: a relative path in these variables is to be ignored.
    if named and Path(named).is_absolute():
        return Path(named) / "modelyard"
    home = Path(environ.get("HOME") or Path("~").expanduser())
    return home / (macos if platform == "darwin" else linux) / "modelyard"


class _Wrong(Exception):
    """A value does not parse; the message says what is wanted."""


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw:
        raise _Wrong("a text that is not empty")
    return raw


def _number(low: float, high: float, *, whole: bool = False) -> Callable[[object], Any]:
    kind = "a whole number" if whole else "a number"

    def parse(raw: object) -> float:
        wanted = _Wrong(f"{kind} from {low:g} to {high:g}")
        if isinstance(raw, bool) or not isinstance(raw, str | int | float):
            raise wanted
        try:
            value = int(str(raw)) if whole else float(raw)
        except ValueError:
            raise wanted from None
        if not low <= value <= high:
            raise wanted
        return value

    return parse


def _one_of(*choices: str) -> Callable[[object], str]:
    def parse(raw: object) -> str:
        if raw not in choices:
            raise _Wrong(f"one of {', '.join(choices)}")
        return str(raw)

    return parse


def _path(raw: object) -> Path:
    if isinstance(raw, Path):
        return raw
    return Path(_text(raw)).expanduser()


def _url(raw: object) -> str:
    text = _text(raw)
    try:
        parts = urlsplit(text)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        complete = False
    if not complete:
        raise _Wrong("an address such as https://yard.example.org")
    return text.rstrip("/")


def _origin(raw: object) -> str:
    text = _url(raw)
    parts = urlsplit(text)
    if parts.path:
        # Registries are at /v2/ of a host, and pages at its root: a yard cannot be one of several things below a name.
        raise _Wrong("an address without a path, such as https://yard.example.org: a yard has a name of its own")
    if parts.username is not None:
        raise _Wrong("an address without a user in it, such as https://yard.example.org")
    return text


def _hosts(raw: object) -> tuple[str, ...]:
    wanted = _Wrong("names of hosts without ports, such as yard.lan,yard.example.org")
    given = raw if isinstance(raw, list | tuple) else _text(raw).split(",")
    names = tuple(str(name).strip().lower() for name in given)
    if not all(re.fullmatch(_HOST_FORM, name) for name in names):
        raise wanted
    return names


def _database(raw: object) -> str:
    text = _text(raw)
    if not text.startswith(("sqlite:///", "postgresql://", "postgres://")):
        raise _Wrong("sqlite:///PATH or postgresql://USER@HOST/NAME")
    return text


def _like(form: str, wanted: str) -> Callable[[object], str]:
    def parse(raw: object) -> str:
        if not re.fullmatch(form, _text(raw)):
            raise _Wrong(wanted)
        return str(raw)

    return parse


_token = _like(_FORM_OF_TOKENS, "r8_ followed by 37 letters and digits")
_owner = _like(_OWNER_FORM, "at most 64 lowercase letters, digits, '-', '_' and '.', a letter or digit at both ends")
_base = _like(r"none|(oci:|[a-zA-Z0-9])\S+", "an image such as registry.example.org/python:{python}-slim, or none")


def _duration(raw: object) -> Duration:
    try:
        return amounts.duration(raw)
    except ValueError as wanted:
        raise _Wrong(str(wanted)) from None


def _size(raw: object) -> Size:
    try:
        return amounts.size(raw)
    except ValueError as wanted:
        raise _Wrong(str(wanted)) from None


# A month: longer than holidays, shorter than most disks last. A yard's disk is its owner's own, so nothing has to go
# after an hour, as it does where strangers share one.
_MONTH = amounts.duration("30d")
_WEEK = amounts.duration("7d")
_ALWAYS = amounts.duration(amounts.FOREVER)
_SPARE = amounts.size("10GB")


def _link(raw: object) -> str:
    text = _text(raw)
    if text != "socket" and not (text.startswith("tcp:") and _is_authority(text.removeprefix("tcp:"))):
        raise _Wrong("socket, or tcp:HOST:PORT such as tcp:host.docker.internal:9274")
    return text


def _authority(raw: object) -> str:
    if not _is_authority(_text(raw)):
        raise _Wrong("HOST:PORT such as 127.0.0.1:9273")
    return str(raw)


def _is_authority(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return re.fullmatch(_HOST_FORM, host) is not None and port.isdecimal() and 0 < int(port) <= 65535


def _key(raw: object) -> str:
    # Most have none, and this is loaded by every command.
    from modelyard import sealing

    try:
        sealing.parse_key(_text(raw))
    except ValueError:
        raise _Wrong(sealing.FORM) from None
    return str(raw)


# Named tuples and not dataclasses here, and in what the commands for daily use load: half the time to import.
class Settings(NamedTuple):
    """Everything a yard is told. None means that nobody said."""

    data: Path
    database: str
    host: str = "127.0.0.1"
    port: int = 9273
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    owner: str = "yard"
    admin_token: str | None = None
    fsync: str = "power"
    idle_timeout_seconds: float = 60.0
    setup_timeout_seconds: float = 600.0
    reconnect_seconds: float = 60.0
    drain_seconds: float = 30.0
    keep_outputs: Duration = _MONTH
    keep_files: Duration = _MONTH
    keep_predictions: Duration = _ALWAYS
    keep_logs: Duration = _WEEK
    keep_unused: Size = _SPARE
    keep_backups: int = 5
    housekeeping_seconds: float = 3600.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    metrics: str = "token"
    log_format: str = "text"
    log_level: str = "info"
    secret_key: str | None = None
    private_addresses: str = "auto"
    engine: str = "process"
    docker_outgoing: str = "allow"
    docker_root: str = "read-only"
    docker_link: str = "socket"
    docker_registry: str | None = None
    base_image: str | None = None


class _About(NamedTuple):
    parse: Callable[[object], Any]
    text: str
    form: str


_ABOUT = {
    "host": _About(_text, "address to listen on", "ADDRESS"),
    "port": _About(_number(0, 65535, whole=True), "port to listen on; 0 takes a free one", "PORT"),
    "data": _About(_path, "folder that holds everything the yard keeps", "DIR"),
    "database": _About(_database, "sqlite:///PATH or postgresql://…; by default yard.db in the data folder", "URL"),
    "public_url": _About(_origin, "what every address in a reply starts with", "URL"),
    "allowed_hosts": _About(_hosts, "further names that browsers may call this yard by, with commas", "NAMES"),
    "owner": _About(_owner, "name of the account that the first start makes", "NAME"),
    "admin_token": _About(_token, "the owner's token, instead of one that the first start makes", "TOKEN"),
    "fsync": _About(
        _one_of("power", "process"),
        "what an accepted prediction survives: a loss of power, or the death of any process",
        "power|process",
    ),
    "idle_timeout_seconds": _About(_number(0, 86400 * 365), "how long an instance without work is kept", "SECONDS"),
    "setup_timeout_seconds": _About(_number(1, 86400), "how long the setup of a model may take", "SECONDS"),
    "reconnect_seconds": _About(_number(1, 86400), "how long a worker goes on while the yard is away", "SECONDS"),
    "drain_seconds": _About(_number(0, 86400), "how long a stopping yard waits for what runs", "SECONDS"),
    "keep_outputs": _About(
        _duration, "how long inputs, outputs and logs of a prediction that ended are kept, or forever", "DURATION"
    ),
    "keep_files": _About(
        _duration, "how long a file is kept that no waiting or running prediction uses, or forever", "DURATION"
    ),
    "keep_predictions": _About(_duration, "how long a prediction that ended is listed at all, or forever", "DURATION"),
    "keep_logs": _About(_duration, "how long the log of an instance that is gone is kept, or forever", "DURATION"),
    "keep_unused": _About(
        _size, "how much of layers, environments, sources and caches that no version needs may stay", "SIZE"
    ),
    "keep_backups": _About(
        _number(1, 1000, whole=True), "how many of the newest backups in the data folder are kept", "NUMBER"
    ),
    "housekeeping_seconds": _About(
        _number(0, 86400 * 365), "how often the yard clears away what is old or unused; 0: never by itself", "SECONDS"
    ),
    "tls_cert": _About(_path, "certificate with its chain (PEM); with tls_key, the yard speaks HTTPS itself", "FILE"),
    "tls_key": _About(_path, "private key of tls_cert (PEM, without a password)", "FILE"),
    "metrics": _About(
        _one_of("token", "open", "off"),
        "who may read /metrics: whoever has the owner's token, everybody, or nobody",
        "token|open|off",
    ),
    "log_format": _About(_one_of("text", "json"), "a line of text or a JSON object for each event", "text|json"),
    "log_level": _About(
        _one_of("debug", "info", "warning", "error"),
        "the least important events that are logged",
        "debug|info|warning|error",
    ),
    "secret_key": _About(
        _key, "the key that secrets are sealed with, instead of the file secret.key in the data folder", "KEY"
    ),
    "private_addresses": _About(
        _one_of("auto", "allow", "refuse"),
        "may inputs be fetched from, and webhooks sent to, addresses of a private network; auto: only while the yard"
        " has no name but this machine's",
        "auto|allow|refuse",
    ),
    "engine": _About(
        _one_of("process", "docker"),
        "what runs models: processes of this machine, or containers of the Docker Engine that DOCKER_HOST names",
        "process|docker",
    ),
    "docker_outgoing": _About(
        _one_of("allow", "refuse"), "may containers reach other machines, such as those with weights", "allow|refuse"
    ),
    "docker_root": _About(
        _one_of("read-only", "writable"),
        "may a container write elsewhere than in its temporary folder and its model's cache, until it ends",
        "read-only|writable",
    ),
    "docker_link": _About(
        _link,
        "how containers reach this yard: its socket; or, where sockets do not reach into the engine's machine, as on"
        " macOS, a port such as tcp:host.docker.internal:9274",
        "socket|tcp:HOST:PORT",
    ),
    "docker_registry": _About(
        _authority,
        "by which name and port the Docker Engine pulls from this yard; 127.0.0.1 and its port by default",
        "HOST:PORT",
    ),
    "base_image": _About(_base, "what pushes put a version on that name no base; {python}: the model's Python", "REF"),
}
_SECRETS = ("admin_token", "secret_key")


def names() -> list[str]:
    """The settings in the order of their declaration."""
    return list(_ABOUT)


def about(name: str) -> str:
    """One line on what a setting means."""
    return _ABOUT[name].text


def form(name: str) -> str:
    """The word that stands for its value in help texts."""
    return _ABOUT[name].form


def default(name: str) -> object:
    """Its value when nobody says anything; None where that depends on others or on the machine."""
    return Settings._field_defaults.get(name)


def is_secret(name: str) -> bool:
    """May the value never be shown? Such a setting has no flag, which others on the machine could read."""
    return name in _SECRETS


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    return "MODELYARD_" + name.upper()


def without_password(database: str) -> str:
    """A database's address as it may be shown."""
    return re.sub(r"(?<=://)([^:/@]*):[^@/]*@", r"\1:***@", database)


def load(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> tuple[Settings, dict[str, str]]:
    """The settings, and for each by name where it comes from: its flag, its variable, the file's path, or `default`.

    `flags` maps names to values; None and a missing name both mean "not given". Raises UsageError for a value that
    does not fit, a key that no setting has and a file that is no TOML.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def take(name: str, raw: object, origin: str, label: str) -> None:
        if name not in values:
            values[name] = parse(name, raw, label)
            origins[name] = origin

    for name in names():
        if flags.get(name) is not None:
            take(name, flags[name], flag(name), flag(name))
        elif environ.get(variable(name)):
            take(name, environ[variable(name)], variable(name), variable(name))
    for name, raw, path in _read_file(cwd / FILE_NAME):
        take(name, raw, str(path), f"{path}: {name}")
    if "data" not in values:
        values["data"], origins["data"] = data_home(environ), "default"
    values["data"] = (cwd / values["data"]).absolute()
    # Where the working folder is the data folder, its file has been read.
    for name, raw, path in [] if values["data"] == cwd.absolute() else _read_file(values["data"] / FILE_NAME):
        if name == "data":
            _refuse(f"{path}: data", raw, "nothing: the data folder cannot say where the data folder is")
        take(name, raw, str(path), f"{path}: {name}")
    values.setdefault("database", f"sqlite:///{values['data'] / 'yard.db'}")
    settings = Settings(**values)
    return settings, {name: origins.get(name, "default") for name in names()}


def address(raw: object, label: str) -> str:
    """An http or https address, which may have a path. Raises UsageError that speaks of it as `label`."""
    try:
        return _url(raw)
    except _Wrong as wanted:
        raise UsageError(f"{label} is {raw!r}; wanted: {wanted}") from None


def parse(name: str, raw: object, label: str) -> Any:
    """`raw` as a value of this setting. Raises UsageError that speaks of it as `label`."""
    try:
        return _ABOUT[name].parse(raw)
    except _Wrong as wanted:
        shown = "a value" if is_secret(name) else repr(raw)
        raise UsageError(f"{label} is {shown}; wanted: {wanted}", hint=f"{name}: {about(name)}") from None


def _refuse(label: str, raw: object, wanted: str) -> NoReturn:
    raise UsageError(f"{label} is {raw!r}; wanted: {wanted}")


def _read_file(path: Path) -> list[tuple[str, object, Path]]:
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    # Few have a file, and the parser costs a tenth of a command's start.
    import tomllib

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    known = names()
    for name in found:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise UsageError(f"{path}: {name} is no setting", hint=hint)
    return [(name, raw, path) for name, raw in found.items()]
