"""Secrets of models on both databases."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from modelyard import errors, secrets
from modelyard.accounts import Account
from modelyard.db.base import Database, Statement
from modelyard.models.service import Models
from modelyard.sealing import FILE_NAME, Sealer, SealError
from modelyard.secrets import ModelSecrets

VALUE = "sk-tell-nobody"
ROWS = Statement("rows", "SELECT name, value FROM model_secrets ORDER BY model_id, name")
SWAP = Statement("swap", "UPDATE model_secrets SET value = :value WHERE name = :name")


def noun(db: Database, folder: Path) -> ModelSecrets:
    return ModelSecrets(db, Sealer(folder, None, os.urandom), itertools.count(1).__next__)


@pytest.mark.anyio
async def test_a_secret_is_set_listed_without_its_value_replaced_and_deleted(db: Database, tmp_path: Path) -> None:
    kept = noun(db, tmp_path)
    assert await kept.list("m") == []
    assert await kept.of("m") == {}
    first = await kept.set("m", "API_KEY", VALUE)
    assert (first.name, first.created_at, first.updated_at) == ("API_KEY", 1, 1)
    assert (await kept.set("m", "API_KEY", "another")).updated_at == 2
    await kept.set("m", "Token2", "x")
    assert [(one.name, one.created_at) for one in await kept.list("m")] == [("API_KEY", 1), ("Token2", 3)]
    assert await kept.of("m") == {"API_KEY": "another", "Token2": "x"}
    await kept.delete("m", "API_KEY")
    assert await kept.of("m") == {"Token2": "x"}
    with pytest.raises(errors.NotFound, match="no secret API_KEY"):
        await kept.delete("m", "API_KEY")


@pytest.mark.anyio
async def test_the_row_does_not_hold_the_value_and_fits_no_other_row(db: Database, tmp_path: Path) -> None:
    kept = noun(db, tmp_path)
    await kept.set("m", "API_KEY", VALUE)
    await kept.set("m", "OTHER", "harmless")
    rows = {row["name"]: row["value"] for row in await db.all(ROWS)}
    assert VALUE not in str(rows)
    await db.run(SWAP, {"name": "OTHER", "value": rows["API_KEY"]})
    with pytest.raises(SealError, match="Secret OTHER of the model is damaged"):
        await kept.of("m")


@pytest.mark.anyio
async def test_models_do_not_share_secrets(db: Database, tmp_path: Path) -> None:
    kept = noun(db, tmp_path)
    await kept.set("m", "API_KEY", VALUE)
    assert await kept.of("n") == {}
    with pytest.raises(errors.NotFound):
        await kept.delete("n", "API_KEY")


@pytest.mark.anyio
async def test_every_node_is_told_of_a_change(db: Database, tmp_path: Path) -> None:
    kept, told = noun(db, tmp_path), []
    kept.on_change.append(told.append)
    await kept.set("m", "API_KEY", VALUE)
    assert told[0] == "m"
    told.clear()
    await kept.delete("m", "API_KEY")
    assert told[0] == "m"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "path", "HOME", "PYTHONPATH", "PYTHONSTARTUP", "MODELYARD_WORKER", "COG_SETUP_TIMEOUT", "LD_PRELOAD"),
        *("DYLD_INSERT_LIBRARIES", "CUDA_VISIBLE_DEVICES", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "BASH_ENV"),
    ],
)
async def test_a_reserved_name_is_refused_and_the_reason_said(db: Database, tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.Invalid, match=f"{name} cannot be the name of a secret: [a-z]"):
        await noun(db, tmp_path).set("m", name, VALUE)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "x" * 129, "../x"])
def test_what_is_no_name_of_a_variable_is_refused(name: str) -> None:
    with pytest.raises(errors.Invalid, match="cannot be the name of a secret"):
        secrets.check_name(name)


@pytest.mark.parametrize("name", ["HF_TOKEN", "COGNITO_POOL", "API_KEY", "_x", "HTTPS_PROXY", "x" * 128])
def test_other_names_are_taken(name: str) -> None:
    secrets.check_name(name)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is empty"),
        ("a\x00b-tell-nobody", "a NUL"),
        ("\ud800-tell-nobody", "half of a character"),
        ("tell-nobody" * 3000, "33,000 bytes; at most 32,768"),
    ],
)
async def test_a_value_that_no_process_takes_is_refused_and_not_repeated(
    db: Database, tmp_path: Path, value: str, said: str
) -> None:
    with pytest.raises(errors.Invalid, match=said) as caught:
        await noun(db, tmp_path).set("m", "API_KEY", value)
    assert "tell-nobody" not in f"{caught.value.detail} {caught.value.hint} {caught.value.extra}"


@pytest.mark.anyio
async def test_one_secret_too_many_is_refused_but_one_of_many_can_be_replaced(db: Database, tmp_path: Path) -> None:
    kept = noun(db, tmp_path)
    for number in range(secrets.MAX_SECRETS):
        await kept.set("m", f"S{number}", "v")
    with pytest.raises(errors.Conflict, match="at most 50"):
        await kept.set("m", "ONE_MORE", "v")
    await kept.set("m", "S0", "w")
    assert (await kept.of("m"))["S0"] == "w"


@pytest.mark.anyio
async def test_without_its_key_a_secret_is_listed_and_deleted_but_not_read(db: Database, tmp_path: Path) -> None:
    await noun(db, tmp_path).set("m", "API_KEY", VALUE)
    (tmp_path / FILE_NAME).unlink()
    kept = noun(db, tmp_path)
    with pytest.raises(SealError, match=FILE_NAME):
        await kept.of("m")
    assert [one.name for one in await kept.list("m")] == ["API_KEY"]
    await kept.set("m", "API_KEY", "again")
    assert await kept.of("m") == {"API_KEY": "again"}


@pytest.mark.anyio
async def test_what_an_instance_was_given_is_known_to_a_later_life_and_to_no_other_instance(
    db: Database, tmp_path: Path
) -> None:
    kept = noun(db, tmp_path)
    assert (await kept.give("m", "i")).sealed is None
    await kept.set("m", "API_KEY", VALUE)
    given = await kept.give("m", "i")
    assert given.values == {"API_KEY": VALUE}
    assert given.sealed is not None
    assert VALUE not in given.sealed
    await kept.delete("m", "API_KEY")
    assert noun(db, tmp_path).given("i", given.sealed) == {"API_KEY": VALUE}
    with pytest.raises(SealError, match="instance j"):
        kept.given("j", given.sealed)


@pytest.mark.anyio
async def test_a_model_takes_its_secrets_along_when_it_is_deleted(db: Database, tmp_path: Path) -> None:
    kept, models = noun(db, tmp_path), Models(db, itertools.count(1).__next__)
    account = Account(id="1", username="ada", name="Ada")
    model, other = await models.create(account.username, "a"), await models.create(account.username, "b")
    await kept.set(model.id, "API_KEY", VALUE)
    await kept.set(other.id, "API_KEY", VALUE)
    await models.delete(model)
    assert await kept.list(model.id) == []
    assert await kept.of(other.id) == {"API_KEY": VALUE}
