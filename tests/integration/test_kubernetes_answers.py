"""A scaler's words with something else than an API server that answers under its address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio import client

from trunkline.runtime.metrics import Meter
from trunkline.scaler.kubernetes import api as kubernetes


@asynccontextmanager
async def answering(
    text: str, meter: Meter | None = None, **more: Any
) -> AsyncIterator[kubernetes.Api]:
    async def answer(request: web.Request) -> web.Response:
        del request
        return web.Response(text=text, **more)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        configuration = client.Configuration()
        configuration.host = f"http://{host}:{port}"
        async with client.ApiClient(configuration) as connection:
            yield kubernetes.Api(connection, "here", "our=pods", meter=meter)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "text", ["<html>log in</html>", "[]", '{"kind": "Status", "metadata": {}}', '{"items": []}']
)
async def test_a_200_that_is_no_list_is_an_error_like_any_other(text: str) -> None:
    async with answering(text) as api:
        for asks in (api.list_pods, api.list_nodes, lambda: api.list_secrets("our=secrets")):
            with pytest.raises(kubernetes.ApiError, match="no answer: this is no"):
                await asks()


@pytest.mark.parametrize(("says", "obeyed_s"), [("7", 7.0), ("86400", 30.0), ("soon", 0.0)])
async def test_nobodys_word_keeps_us_from_asking_for_a_day(says: str, obeyed_s: float) -> None:
    slow = answering('{"message": "slow"}', status=429, headers={"Retry-After": says})
    async with slow as api:
        with pytest.raises(kubernetes.ApiError, match="slow") as told:
            await api.list_pods()
    assert told.value.retry_after_s == obeyed_s


async def test_requests_are_counted_by_verb_and_code() -> None:
    meter = Meter()
    async with answering('{"message": "no"}', meter, status=403) as api:
        for asks in (api.list_pods, api.list_nodes, lambda: api.read_pod("p")):
            with pytest.raises(kubernetes.ApiError):
                await asks()
    counted = {labels: value for _, labels, value in meter()}
    assert counted == {("list", "403"): 2, ("get", "403"): 1}
