from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from modelyard import errors
from modelyard.accounts import Account
from modelyard.api.validation import Checker
from modelyard.db.base import Database
from modelyard.models import interface
from modelyard.models.record import Visibility, is_name
from modelyard.models.service import Models
from modelyard.models.targets import RunCounter, Targets
from modelyard.timeouts import Timeouts

ADA = Account(id="1", username="ada", name="Ada")
BOB = Account(id="2", username="bob", name="Bob")
ONE, TWO = "1" * 64, "2" * 64


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


@pytest.mark.anyio
async def test_a_model_gets_versions_and_the_last_one_is_its_latest(db: Database) -> None:
    models = Models(db, Clock())
    made = await models.create("ada", "hello", description="Says it")
    assert await models.get("ada", "hello") == await models.get_by_id(made.id) == made
    assert await models.latest(made) is None
    await models.add_version(made.id, ONE, {"a": 1}, {}, "0.16", concurrency=4)
    await models.add_version(made.id, TWO, {"a": 2}, {}, "0.16")
    current = await models.get("ada", "hello")
    assert current is not None
    latest = await models.latest(current)
    assert latest is not None
    assert (latest.id, latest.schema, latest.concurrency) == (TWO, {"a": 2}, 1)
    assert [version.id for version in await models.versions(current, limit=5)] == [TWO, ONE]
    newest = (latest.created_at, latest.id)
    assert [version.id for version in await models.versions(current, limit=5, before=newest)] == [ONE]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("lines", "variables", "timeouts"),
    [
        (["A=x=y", "COG_SETUP_TIMEOUT=5"], {"A": "x=y", "COG_SETUP_TIMEOUT": "5"}, Timeouts(setup_seconds=5)),
        (["MODELYARD_RUN_TIMEOUT=1.5"], {"MODELYARD_RUN_TIMEOUT": "1.5"}, Timeouts(run_seconds=1.5)),
        (["COG_SETUP_TIMEOUT=never"], {"COG_SETUP_TIMEOUT": "never"}, Timeouts()),
        (None, {}, Timeouts()),
        (5, {}, Timeouts()),
        ({"MODELYARD_RUN_TIMEOUT": "1"}, {}, Timeouts()),
        ([7, None], {"7": "", "None": ""}, Timeouts()),
    ],
)
async def test_a_version_says_how_long_it_may_take(
    db: Database, lines: Any, variables: dict[str, str], timeouts: Timeouts
) -> None:
    models = Models(db, Clock())
    made = await models.create("ada", "hello")
    await models.add_version(made.id, ONE, {}, {"environment": lines}, "0.16")
    version = await models.version(ONE, made)
    assert version is not None
    assert (version.environment, version.timeouts) == (variables, timeouts)


@pytest.mark.anyio
async def test_a_version_that_is_pushed_again_stays_as_it_was_and_becomes_the_latest(db: Database) -> None:
    models = Models(db, Clock())
    made = await models.create("ada", "hello")
    first = await models.add_version(made.id, ONE, {"a": 1}, {}, "0.16")
    await models.add_version(made.id, TWO, {}, {}, "0.16")
    assert await models.add_version(made.id, ONE, {"a": 1}, {}, "0.16") == first
    current = await models.get_by_id(made.id)
    assert current is not None
    assert current.latest_version_id == ONE


@pytest.mark.anyio
async def test_a_name_is_taken_once(db: Database) -> None:
    models = Models(db, Clock())
    await models.create("ada", "hello")
    with pytest.raises(errors.Conflict):
        await models.create("ada", "hello")
    await models.create("bob", "hello")


@pytest.mark.anyio
async def test_what_is_run_has_three_spellings_and_private_models_none_for_others(db: Database) -> None:
    models = Models(db, Clock())
    targets = Targets(models)
    made = await models.create("ada", "hello")
    await models.add_version(made.id, ONE, {}, {}, "0.16")
    for spelling in (ONE, "ada/hello", f"ada/hello:{ONE}"):
        found = await targets.get(spelling, ADA)
        assert found is not None
        assert (found.model.id, found.version.id) == (made.id, ONE)
        async with asyncio.timeout(10):
            while targets.peek(spelling, ADA) is None:  # until the news of the version have come
                await asyncio.sleep(0.001)
                await targets.get(spelling, ADA)
        assert targets.peek(spelling, BOB) is None
        assert await targets.get(spelling, BOB) is None
    for spelling in (TWO, "ada/other", f"ada/hello:{TWO}", "hello", "", "/", "ada/hello:", ":"):
        assert await targets.get(spelling, ADA) is None or spelling == "ada/hello:"


@pytest.mark.anyio
async def test_one_version_in_two_models_is_run_where_the_caller_may(db: Database) -> None:
    models = Models(db, Clock())
    targets = Targets(models)
    for owner in ("ada", "bob"):
        made = await models.create(owner, "hello")
        await models.add_version(made.id, ONE, {}, {}, "0.16")
    for account in (ADA, BOB):
        found = await targets.get(ONE, account)
        assert found is not None
        assert found.model.owner == account.username


@pytest.mark.anyio
async def test_a_bare_version_of_several_models_is_ones_own_and_else_the_first_that_is_public(db: Database) -> None:
    models = Models(db, Clock())
    targets = Targets(models)

    async def meant(account: Account) -> str | None:
        found = await targets.get(ONE, account)
        assert targets.peek(ONE, account) in (found, None)  # None: the news of a change have just come
        return None if found is None else found.model.full_name

    async def push(owner: str, name: str, visibility: Visibility) -> None:
        made = await models.create(owner, name, visibility=visibility)
        await models.add_version(made.id, ONE, {}, {}, "0.16")

    await push("eve", "hidden", "private")
    assert await meant(ADA) is None
    await push("eve", "first", "public")
    assert await meant(ADA) == "eve/first"
    await push("eve", "second", "public")
    assert await meant(ADA) == "eve/first"
    await push("ada", "own", "private")
    await push("ada", "newer", "private")
    await push("eve", "third", "public")
    assert [await meant(account) for account in (ADA, BOB)] == ["ada/newer", "eve/first"]


@pytest.mark.anyio
async def test_a_new_version_is_run_from_then_on(db: Database) -> None:
    models = Models(db, Clock())
    targets = Targets(models)
    made = await models.create("ada", "hello")
    for version in (ONE, TWO):
        await models.add_version(made.id, version, {}, {}, "0.16")
        found = await targets.get("ada/hello", ADA)
        assert found is not None
        assert found.version.id == version


@pytest.mark.anyio
async def test_a_deleted_version_is_gone_but_its_interface_is_known(db: Database) -> None:
    models = Models(db, Clock())
    targets = Targets(models)
    made = await models.create("ada", "hello")
    secret = _document({"key": {"type": "string", "x-cog-secret": True}})
    await models.add_version(made.id, ONE, secret, {}, "0.16")
    await models.add_version(made.id, TWO, {}, {}, "0.16")
    current = await models.get("ada", "hello")
    assert current is not None
    await models.delete_version(current, TWO)
    with pytest.raises(errors.NotFound):
        await models.delete_version(current, TWO)
    found = await targets.get("ada/hello", ADA)
    assert found is not None
    assert found.version.id == ONE
    await models.delete_version(current, ONE)
    assert await targets.get("ada/hello", ADA) is None
    assert (await models.interface_of(made.id, ONE)).secrets == ("key",)
    current = await models.get("ada", "hello")
    assert current is not None
    assert current.latest_version_id is None
    await models.delete(current)
    assert await models.get("ada", "hello") is None


@pytest.mark.anyio
async def test_runs_are_counted_together(db: Database) -> None:
    models, runs = Models(db, Clock()), RunCounter(db, Clock())
    made = await models.create("ada", "hello")
    for _ in range(5):
        runs.count(made.id)
    runs.flush()
    async with asyncio.timeout(10):
        while (fresh := await models.fresh("ada", "hello")) is None or fresh.run_count == 0:
            await asyncio.sleep(0.001)
    assert fresh.run_count == 5
    assert fresh.last_run_at is not None


@pytest.mark.anyio
async def test_a_search_finds_by_name_and_description(db: Database) -> None:
    models = Models(db, Clock())
    await models.create("ada", "hello", description="Says 100% of it")
    await models.create("bob", "other", visibility="public")
    await models.create("bob", "hidden")
    for text, names in (("HEL", ["hello"]), ("100%", ["hello"]), ("bob/o", ["other"]), ("h_llo", []), ("hidden", [])):
        assert [model.name for model in await models.search(ADA, text, limit=5)] == names


@pytest.mark.parametrize("name", ["a", "hello-world", "a.b_c--d", "0", "a__b", "x" * 128])
def test_names_that_are_good(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a..b", "a/b", "a b", "ä", "x" * 129, "..", "a\n"])
def test_names_that_are_not(name: str) -> None:
    assert not is_name(name)


# Interfaces


def _document(properties: dict[str, Any], output: Any = None, **more: Any) -> dict[str, Any]:
    whole = {"Input": {"type": "object", "properties": properties}, "Output": output or {"type": "string"}, **more}
    return {"components": {"schemas": whole}}


URI = {"type": "string", "format": "uri"}


def test_the_text_of_a_number_is_read_where_the_schema_says_so() -> None:
    properties = {"n": {"type": "integer", "maximum": 9}, "on": {"type": "boolean"}, "text": {"type": "string"}}
    document = _document(properties, {"type": "string"})
    given = msgspec.Raw(b'{"n":"3","on":"No","text":"4"}')
    with pytest.raises(errors.Invalid):
        Checker().check(given, interface.read(document))
    document["x-modelyard-lenient"] = {"Input": {"n": "integer", "on": "boolean"}}
    found = interface.read(document)
    checked = Checker().check(given, found)
    assert checked.values == {"n": 3, "on": False, "text": "4"}
    assert msgspec.json.decode(checked.raw) == checked.values
    for wrong in (b'{"n":"10"}', b'{"n":"1.5"}', b'{"n":""}', b'{"n":"1","on":"perhaps"}', b'{"n":["1"]}'):
        with pytest.raises(errors.Invalid):
            Checker().check(msgspec.Raw(wrong), found)


def test_an_input_that_may_be_left_out_although_it_is_required_is_not_missed() -> None:
    document = _document({"seed": {"type": "integer", "minimum": 1}, "text": {"type": "string"}}, {"type": "string"})
    document["components"]["schemas"]["Input"]["required"] = ["seed", "text"]
    with pytest.raises(errors.Invalid):
        Checker().check(msgspec.Raw(b'{"text":"a"}'), interface.read(document))
    document["x-modelyard-omittable"] = {"Input": ["seed"]}
    found = interface.read(document)
    for given in (b'{"text":"a"}', b'{"text":"a","seed":null}'):
        assert Checker().check(msgspec.Raw(given), found).values["text"] == "a"
    for given in (b'{"seed":1}', b'{"text":"a","seed":0}'):
        with pytest.raises(errors.Invalid):
            Checker().check(msgspec.Raw(given), found)


def test_files_integers_and_secrets_are_seen_at_any_depth() -> None:
    found = interface.read(
        _document(
            {
                "plain": {"type": "string"},
                "one": URI,
                "many": {"type": "array", "items": URI},
                "maybe": {"anyOf": [URI, {"type": "null"}]},
                "named": {"allOf": [{"$ref": "#/components/schemas/Named"}]},
                "count": {"type": "integer"},
                "counts": {"type": "array", "items": {"type": "integer"}},
                "either": {"anyOf": [{"type": "integer"}, {"type": "number"}]},
                "key": {"type": "string", "x-cog-secret": True},
            },
            Named={"type": "object", "properties": {"picture": URI}},
        )
    )
    assert found.inputs is not None
    assert len(found.inputs) == 9
    assert found.files == {"one", "many", "maybe", "named"}
    assert found.integers == ("count", "counts")
    assert found.secrets == ("key",)


@pytest.mark.parametrize(
    ("output", "files", "iterator"),
    [
        ({"type": "string"}, False, False),
        (URI, True, False),
        ({"type": "array", "items": URI}, True, False),
        ({"type": "array", "items": URI, "x-cog-array-type": "iterator"}, True, True),
        ({"type": "object", "properties": {"picture": URI}}, False, False),
    ],
)
def test_what_an_output_is(output: Any, files: bool, iterator: bool) -> None:
    found = interface.read(_document({}, output))
    assert (found.file_output, found.iterator) == (files, iterator)


CIRCLE = {"$ref": "#/components/schemas/Circle"}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"components": 5},
        {"components": {"schemas": []}},
        {"components": {"schemas": {"Input": "x"}}},
        {"components": {"schemas": {"Input": {"properties": 5, "required": "x"}, "Output": 5}}},
        {"components": {"schemas": {"Input": {"properties": {"a": None, "b": {"items": [1], "anyOf": 5}}}}}},
        _document({"a": CIRCLE}, CIRCLE, Circle={"items": CIRCLE, "allOf": [CIRCLE]}),
    ],
)
def test_a_document_of_an_unknown_shape_is_read_as_far_as_it_goes(document: Any) -> None:
    assert interface.read(document).secrets == ()
