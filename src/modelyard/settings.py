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

from modelyard import amounts, forms
from modelyard.amounts import Duration, Size
from modelyard.errors import UsageError

FILE_NAME = "yard.toml"


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


# A month: longer than holidays, shorter than most disks last. A yard's disk is its owner's own, so nothing has to go
# after an hour, as it does where strangers share one.
_MONTH = amounts.duration("30d")
_WEEK = amounts.duration("7d")
_ALWAYS = amounts.duration(amounts.FOREVER)
_SPARE = amounts.size("10GB")


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
    blobs: str = "disk"
    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_style: str = "auto"


class _About(NamedTuple):
    parse: Callable[[object], Any]
    text: str
    form: str


_ABOUT = {
    "host": _About(forms.text, "address to listen on", "ADDRESS"),
    "port": _About(forms.number(0, 65535, whole=True), "port to listen on; 0 takes a free one", "PORT"),
    "data": _About(forms.path, "folder that holds everything the yard keeps", "DIR"),
    "database": _About(
        forms.database, "sqlite:///PATH or postgresql://…; by default yard.db in the data folder", "URL"
    ),
    "public_url": _About(forms.origin, "what every address in a reply starts with", "URL"),
    "allowed_hosts": _About(forms.hosts, "further names that browsers may call this yard by, with commas", "NAMES"),
    "owner": _About(forms.owner, "name of the account that the first start makes", "NAME"),
    "admin_token": _About(forms.token, "the owner's token, instead of one that the first start makes", "TOKEN"),
    "fsync": _About(
        forms.one_of("power", "process"),
        "what an accepted prediction survives: a loss of power, or the death of any process",
        "power|process",
    ),
    "idle_timeout_seconds": _About(
        forms.number(0, 86400 * 365), "how long an instance without work is kept", "SECONDS"
    ),
    "setup_timeout_seconds": _About(forms.number(1, 86400), "how long the setup of a model may take", "SECONDS"),
    "reconnect_seconds": _About(forms.number(1, 86400), "how long a worker goes on while the yard is away", "SECONDS"),
    "drain_seconds": _About(forms.number(0, 86400), "how long a stopping yard waits for what runs", "SECONDS"),
    "keep_outputs": _About(
        forms.duration, "how long inputs, outputs and logs of a prediction that ended are kept, or forever", "DURATION"
    ),
    "keep_files": _About(
        forms.duration, "how long a file is kept that no waiting or running prediction uses, or forever", "DURATION"
    ),
    "keep_predictions": _About(
        forms.duration, "how long a prediction that ended is listed at all, or forever", "DURATION"
    ),
    "keep_logs": _About(forms.duration, "how long the log of an instance that is gone is kept, or forever", "DURATION"),
    "keep_unused": _About(
        forms.size, "how much of layers, environments, sources and caches that no version needs may stay", "SIZE"
    ),
    "keep_backups": _About(
        forms.number(1, 1000, whole=True), "how many of the newest backups in the data folder are kept", "NUMBER"
    ),
    "housekeeping_seconds": _About(
        forms.number(0, 86400 * 365),
        "how often the yard clears away what is old or unused; 0: never by itself",
        "SECONDS",
    ),
    "tls_cert": _About(
        forms.path, "certificate with its chain (PEM); with tls_key, the yard speaks HTTPS itself", "FILE"
    ),
    "tls_key": _About(forms.path, "private key of tls_cert (PEM, without a password)", "FILE"),
    "metrics": _About(
        forms.one_of("token", "open", "off"),
        "who may read /metrics: whoever has the owner's token, everybody, or nobody",
        "token|open|off",
    ),
    "log_format": _About(forms.one_of("text", "json"), "a line of text or a JSON object for each event", "text|json"),
    "log_level": _About(
        forms.one_of("debug", "info", "warning", "error"),
        "the least important events that are logged",
        "debug|info|warning|error",
    ),
    "secret_key": _About(
        forms.key, "the key that secrets are sealed with, instead of the file secret.key in the data folder", "KEY"
    ),
    "private_addresses": _About(
        forms.one_of("auto", "allow", "refuse"),
        "may inputs be fetched from, and webhooks sent to, addresses of a private network; auto: only while the yard"
        " has no name but this machine's",
        "auto|allow|refuse",
    ),
    "engine": _About(
        forms.one_of("process", "docker"),
        "what runs models: processes of this machine, or containers of the Docker Engine that DOCKER_HOST names",
        "process|docker",
    ),
    "docker_outgoing": _About(
        forms.one_of("allow", "refuse"),
        "may containers reach other machines, such as those with weights",
        "allow|refuse",
    ),
    "docker_root": _About(
        forms.one_of("read-only", "writable"),
        "may a container write elsewhere than in its temporary folder and its model's cache, until it ends",
        "read-only|writable",
    ),
    "docker_link": _About(
        forms.link,
        "how containers reach this yard: its socket; or, where sockets do not reach into the engine's machine, as on"
        " macOS, a port such as tcp:host.docker.internal:9274",
        "socket|tcp:HOST:PORT",
    ),
    "docker_registry": _About(
        forms.authority,
        "by which name and port the Docker Engine pulls from this yard; 127.0.0.1 and its port by default",
        "HOST:PORT",
    ),
    "base_image": _About(
        forms.base, "what pushes put a version on that name no base; {python}: the model's Python", "REF"
    ),
    "blobs": _About(
        forms.blobs,
        "where files, outputs and images are kept: in the data folder, or in a bucket of S3 or its kin, which"
        " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY open",
        "disk|s3://BUCKET/PREFIX",
    ),
    "s3_endpoint": _About(forms.url, "address of a server that speaks S3; AWS_ENDPOINT_URL, or AWS itself", "URL"),
    "s3_region": _About(forms.text, "region of the bucket; AWS_REGION, or us-east-1", "NAME"),
    "s3_style": _About(
        forms.one_of("auto", "path", "host"),
        "does the bucket's name stand in an address's path or before its host; auto: the path, but of AWS itself",
        "auto|path|host",
    ),
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
        return forms.url(raw)
    except forms.Wrong as wanted:
        raise UsageError(f"{label} is {raw!r}; wanted: {wanted}") from None


def parse(name: str, raw: object, label: str) -> Any:
    """`raw` as a value of this setting. Raises UsageError that speaks of it as `label`."""
    try:
        return _ABOUT[name].parse(raw)
    except forms.Wrong as wanted:
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
