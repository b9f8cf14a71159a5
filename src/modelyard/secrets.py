"""Secrets of models: named values that a model's workers find in their environment, sealed in the database.

They are set and taken away, never shown. What an instance was given is kept sealed beside it, so that a yard that takes
it over after a restart knows what must stay out of its logs, and whether it still has what it should.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from modelyard import errors
from modelyard.db.base import Database, Statement, Tx
from modelyard.sealing import Sealer

MAX_SECRETS = 50
# An environment of all of them fits into what the system takes at the start of a process.
MAX_BYTES = 32 * 1024
MAX_NAME = 128
_TOPIC = "model_secrets"

_FORM = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_NAME - 1}}}")
_OURS = "the yard sets it itself"
_LOADS = "it changes which code a process loads"
_RESERVED = {
    **dict.fromkeys(("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"), _OURS),
    **dict.fromkeys(("HF_HOME", "TORCH_HOME"), _OURS),
    **dict.fromkeys(("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"), _OURS),
    **dict.fromkeys(("BASH_ENV", "ENV", "IFS"), _LOADS),
}
_RESERVED_BEGINNINGS = {
    "MODELYARD": "names that begin so are the yard's own",
    "COG_": "names that begin so are settings of a model's server",
    "PYTHON": _LOADS,
    "LD_": _LOADS,
    "DYLD_": _LOADS,
    "LC_": _OURS,
    "XDG_": _OURS,
}

_SET = Statement(
    "set_model_secret",
    "INSERT INTO model_secrets (model_id, name, value, created_at, updated_at)"
    " VALUES (:model_id, :name, :value, :now, :now)"
    " ON CONFLICT (model_id, name) DO UPDATE SET value = :value, updated_at = :now",
)
_GET = Statement(
    "get_model_secret",
    "SELECT name, created_at, updated_at FROM model_secrets WHERE model_id = :model_id AND name = :name",
)
_COUNT_OTHERS = Statement(
    "count_other_model_secrets",
    "SELECT COUNT(*) AS number FROM model_secrets WHERE model_id = :model_id AND name <> :name",
)
_LIST = Statement(
    "list_model_secrets",
    "SELECT name, created_at, updated_at FROM model_secrets WHERE model_id = :model_id ORDER BY name",
)
_VALUES = Statement(
    "values_of_model_secrets", "SELECT name, value FROM model_secrets WHERE model_id = :model_id ORDER BY name"
)
_DELETE = Statement(
    "delete_model_secret", "DELETE FROM model_secrets WHERE model_id = :model_id AND name = :name", by_key=True
)


class ModelSecret(NamedTuple):
    """That a secret is there. Times in microseconds since 1970."""

    name: str
    created_at: int
    updated_at: int


class Given(NamedTuple):
    """What an instance is given: values by name, and the same sealed, to be kept; empty without secrets."""

    values: Mapping[str, str]
    sealed: str | None


class ModelSecrets:
    """The secrets of all models. `clock`: microseconds since 1970."""

    def __init__(self, db: Database, sealer: Sealer, clock: Callable[[], int]) -> None:
        self._db = db
        self._sealer = sealer
        self._clock = clock
        # Told the id of a model whose secrets changed, on every node.
        self.on_change: list[Callable[[str], None]] = []
        db.listen(_TOPIC, self._changed_here)

    def _changed_here(self, model_id: str) -> None:
        for callback in self.on_change:
            callback(model_id)

    async def _changed(self, model_id: str) -> None:
        self._changed_here(model_id)
        await self._db.notify(_TOPIC, model_id)

    async def list(self, model_id: str) -> builtins.list[ModelSecret]:
        """Those of a model by name; their values are not to be had here."""
        return [ModelSecret(**row) for row in await self._db.all(_LIST, model_id=model_id)]

    async def set(self, model_id: str, name: str, value: str) -> ModelSecret:
        """Set or replace one. Raises Invalid for what cannot be, Conflict for one too many, SealError."""
        check_name(name)
        _check_value(name, value)
        sealed, now = self._sealer.seal(value, _purpose(model_id, name)), self._clock()

        def write(tx: Tx) -> ModelSecret:
            others = tx.one(_COUNT_OTHERS, model_id=model_id, name=name)
            if others is not None and others["number"] >= MAX_SECRETS:
                raise errors.Conflict(f"A model has at most {MAX_SECRETS} secrets.", hint="Delete one of them first.")
            tx.run(_SET, {"model_id": model_id, "name": name, "value": sealed, "now": now})
            found = tx.one(_GET, model_id=model_id, name=name)
            return ModelSecret(name, now, now) if found is None else ModelSecret(**found)

        kept = await self._db.transaction(write)
        await self._changed(model_id)
        return kept

    async def delete(self, model_id: str, name: str) -> None:
        """Take one away. Raises NotFound."""
        if not await self._db.run(_DELETE, {"model_id": model_id, "name": name}):
            raise errors.NotFound(f"The model has no secret {name[:MAX_NAME]}.")
        await self._changed(model_id)

    async def of(self, model_id: str) -> dict[str, str]:
        """The values by name. Raises SealError."""
        rows = await self._db.all(_VALUES, model_id=model_id)
        return {row["name"]: self._open(model_id, row["name"], row["value"]) for row in rows}

    def _open(self, model_id: str, name: str, sealed: str) -> str:
        return self._sealer.open(sealed, _purpose(model_id, name), f"Secret {name} of the model")

    # -- what instances have

    async def give(self, model_id: str, instance_id: str) -> Given:
        """What a new instance is given. Raises SealError."""
        values = await self.of(model_id)
        if not values:
            return Given({}, None)
        return Given(values, self._sealer.seal(msgspec.json.encode(values).decode(), f"instance {instance_id}"))

    def given(self, instance_id: str, sealed: str) -> dict[str, str]:
        """What an instance was given, from what was kept. Raises SealError."""
        text = self._sealer.open(sealed, f"instance {instance_id}", f"What instance {instance_id} was given")
        return msgspec.json.decode(text, type=dict[str, str])


def check_name(name: str) -> None:
    """Raises Invalid for what cannot be the name of a secret, and says why."""
    if not _FORM.fullmatch(name):
        raise errors.Invalid(
            f"{name[:MAX_NAME]!r} cannot be the name of a secret: letters, digits and '_' are wanted,"
            f" no digit first, at most {MAX_NAME}.",
            hint="It becomes an environment variable of the model, such as API_KEY.",
        )
    upper = name.upper()
    reason = _RESERVED.get(upper) or next((why for b, why in _RESERVED_BEGINNINGS.items() if upper.startswith(b)), None)
    if reason is not None:
        raise errors.Invalid(f"{name} cannot be the name of a secret: {reason}.", hint="Choose another name.")


def _check_value(name: str, value: str) -> None:
    size = len(value.encode("utf-8", "surrogatepass"))
    if not value:
        raise errors.Invalid(f"The value of {name} is empty.", hint="To take a secret away, delete it.")
    if "\x00" in value or not _is_text(value):
        raise errors.Invalid(
            f"The value of {name} holds what an environment variable cannot hold: a NUL, or half of a character.",
            hint="Encode bytes as base64.",
        )
    if size > MAX_BYTES:
        raise errors.Invalid(f"The value of {name} has {size:,} bytes; at most {MAX_BYTES:,} are taken.")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _purpose(model_id: str, name: str) -> str:
    return f"secret {name} of model {model_id}"
