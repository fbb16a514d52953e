"""What a bucket may refuse, and what is said of it."""

import asyncio
import os

import pytest
from tests.support.s3 import BUCKET, SECRET

from trunkline.contracts import errors
from trunkline.storage import health, keys
from trunkline.storage.store import open_store

pytestmark = pytest.mark.s3

NOWHERE = keys.of("0" * 64)


async def refusals(store):
    """Return what each kind of request is told."""
    told = []
    for call in (
        lambda: store.put(b"x"),
        lambda: store.get(NOWHERE),
        lambda: store.has(NOWHERE),
        lambda: store.get_range(NOWHERE, 0, 1),
        lambda: store.objects().of_part(0),
        store.mark,
        store.check,
    ):
        with pytest.raises(errors.UnavailableError) as refused:
            await call()
        told.append(str(refused.value))
    return told


async def test_a_wrong_secret_is_told_without_saying_it(s3_url, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "WRONG-and-secret")
    store = open_store(s3_url)
    told = await refusals(store)
    assert "see to AWS_SECRET_ACCESS_KEY" in told[0]
    assert all(s3_url in each and "WRONG" not in each and "\n" not in each for each in told)
    assert store.health.problems == [told[-1]]


async def test_an_unknown_key_is_told(s3_url, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    told = await refusals(open_store(s3_url))
    assert "see to AWS_ACCESS_KEY_ID" in told[0]
    assert all("credentials" in each or "AWS_ACCESS_KEY_ID" in each for each in told)


@pytest.mark.usefixtures("s3_url")
async def test_a_bucket_that_is_missing_is_away_and_no_object_in_it_is_called_missing():
    told = await refusals(open_store("s3://no-such-bucket/x"))
    assert "no such bucket; create it, or name another by TRUNKLINE_STORE" in told[0]


async def test_where_no_store_was_ever_set_up_nothing_is_called_missing(s3_url):
    store = open_store(s3_url)
    with pytest.raises(errors.UnavailableError, match="another one, was emptied"):
        await store.get(NOWHERE)
    await store.mark()
    with pytest.raises(errors.NotFoundError):
        await store.get(NOWHERE)


async def test_http_must_be_allowed(s3_url, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(errors.UnavailableError, match="AWS_ALLOW_HTTP=true"):
        await open_store(s3_url).put(b"x")


async def test_a_bucket_without_puts_on_a_condition_is_written_all_the_same(s3_url, monkeypatch):
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    store = open_store(s3_url)
    async with asyncio.TaskGroup() as tasks:
        puts = [tasks.create_task(store.put(b"same")) for _ in range(10)]
    assert len({put.result() for put in puts}) == 1
    assert await store.get(puts[0].result()) == b"same"


async def test_credentials_may_stand_in_the_file_that_amazons_tools_share(
    s3_url, monkeypatch, tmp_path
):
    shared = tmp_path / "credentials"
    shared.write_text(
        f"[default]\naws_access_key_id = nobody\naws_secret_access_key = no\n[work]\n"
        f"aws_access_key_id = {os.environ['AWS_ACCESS_KEY_ID']}\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    with pytest.raises(errors.UnavailableError, match="AWS_ACCESS_KEY_ID"):
        await open_store(s3_url).put(b"x")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert await open_store(s3_url).put(b"x")


async def test_a_store_that_is_there_again_is_well_without_being_asked_for_anything(
    s3_url, monkeypatch
):
    monkeypatch.setattr(health, "LOOK_S", 0.05)
    store = open_store(s3_url)
    with pytest.raises(errors.UnavailableError):
        await store.get(NOWHERE)
    assert store.health.problems
    await open_store(s3_url).mark()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(health.watch(store, owner=False))
        while store.health.problems:
            await asyncio.sleep(0.01)
        watching.cancel()


async def test_old_objects_of_a_bucket_are_swept_and_young_ones_are_not(s3_url):
    store = open_store(s3_url)
    await store.mark()
    key = await store.put(b"nobody's")
    objects, part = store.objects(), int(keys.sha256(key)[:2], 16)
    (found,) = await objects.of_part(part)
    assert found.sha256.hex() == keys.sha256(key)
    assert await objects.remove([found], found.modified_s - 1) == []
    assert await store.has(key)
    assert await objects.remove([found], found.modified_s + 1) == [found]
    assert not await store.has(key)
    assert s3_url.startswith(f"s3://{BUCKET}/")
