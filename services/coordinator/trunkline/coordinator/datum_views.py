"""The requests about datums: each datum of a job as it stands, by index or by id, and its restart.

A datum with an outcome shows that; one without shows what `datum_claims` makes of the workers' claims. A
page that looks for rare states, or for ids, stops after a stretch of indexes and says where to go on,
so that no request takes long, and an empty page may have a next one.
"""

from collections.abc import Mapping
from contextlib import aclosing

import msgspec

from trunkline.bus.connection import NatsConnection
from trunkline.contracts import api as contract
from trunkline.contracts import attempts, errors, messages, records
from trunkline.contracts.states import DatumState
from trunkline.contracts.wards import Wards
from trunkline.coordinator import datum_claims, paging, restarting
from trunkline.coordinator.api import Answer, Handler, decode
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.commits import InvalidRequestError
from trunkline.coordinator.handlers import Folds
from trunkline.coordinator.inputs import Inputs
from trunkline.coordinator.outcomes import Outcomes

STRETCH = 5000
"""Indexes that one request looks at when it looks for datums without an outcome."""

LISTED = 50_000
"""Datums whose ids one request makes anew when it looks for one: about a second."""


class DatumViews:
    """Answers `datum.list` and `datum.restart`; `data` is the connection in DATA."""

    def __init__(
        self,
        catalog: Catalog,
        outcomes: Outcomes,
        folds: Folds,
        data: NatsConnection,
        wards: Wards,
        inputs: Inputs,
    ) -> None:
        self._catalog, self._outcomes, self._folds = catalog, outcomes, folds
        self._data, self._wards, self._inputs = data, wards, inputs

    def all(self) -> dict[str, Handler]:
        """Return the handlers by verb."""
        return {"datum.list": self.datum_list, "datum.restart": self.datum_restart}

    async def datum_list(self, body: bytes) -> Answer:
        """List a job's datums by index."""
        page: contract.DatumPage = decode(body, contract.DatumPage)
        most = paging.limit(page.limit)
        unknown = set(page.states) - set(contract.DATUM_STATES_SHOWN)
        if unknown or not -1 <= page.after < 1 << 62:
            path = "$.states" if unknown else "$.after"
            told = ", ".join(contract.DATUM_STATES_SHOWN)
            raise InvalidRequestError(path, f"use {told}" if unknown else "must be an index")
        while True:
            job = await self._known(page.pipeline, page.job)
            rare = page.states and not set(contract.DATUM_STATES_OPEN) & set(page.states)
            list_ = self._like if page.datum else self._ended if rare else self._all
            answer = await list_(job, page, most)
            # Outcomes that are compacted while they are read are missed in the stream: they are in
            # the archive then, and the record says so.
            if (await self._known(page.pipeline, page.job)).outcomes == job.outcomes:
                return answer

    async def datum_restart(self, body: bytes) -> Answer:
        """Have datums worked on once more."""
        asked: contract.DatumRestart = decode(body, contract.DatumRestart)
        if not 0 < len(asked.generations) <= contract.PAGE_MAX:
            text = f"name some datums, {contract.PAGE_MAX} at most"
            raise InvalidRequestError("$.generations", text)
        job = await self._known(asked.pipeline, asked.job)
        jobs = self._catalog.jobs
        return paging.answer(await restarting.ask(jobs, self._outcomes, job, asked.generations))

    async def _known(self, pipeline: str, identifier: str) -> records.Job:
        job = await self._catalog.jobs.find(pipeline, identifier)
        if job is None:
            raise errors.NotFoundError("job", f"{pipeline}@{identifier}")
        return job

    async def _like(self, job: records.Job, page: contract.DatumPage, most: int) -> Answer:
        """Return the datums whose ids begin like this."""
        first = page.after + 1
        found: list[int] = []
        last, more = page.after, False
        stretch = range(first, first + LISTED)
        async with aclosing(self._inputs.datums(job, stretch.__contains__)) as listed:
            async for datums in listed:
                found += (each.index for each in datums if each.id.startswith(page.datum))
                last = datums[-1].index
                if more := last == stretch[-1] or len(found) > most:
                    break
        if len(found) > most:
            found, last = found[:most], found[most - 1]
        views = [each for index in found for each in await self._views(job, index, index + 1)]
        if page.states:
            views = [each for each in views if each.state in page.states]
        shown = await self._with_attempts(job, views)
        answer = paging.cut(((str(each.index), each) for each in shown), most)
        return answer if answer.more else Answer(answer.result, more=more, next=str(last))

    async def _ended(self, job: records.Job, page: contract.DatumPage, most: int) -> Answer:
        """Return datums that have an outcome of these states."""
        fold = self._folds(job.pipeline, job.id)
        states = {DatumState(each) for each in page.states}
        found = await self._outcomes.page(
            job, fold, after=page.after, limit=most + 1, states=states
        )
        views = ((str(each.index), _ended(each)) for each in found)
        return paging.cut(views, most)

    async def _all(self, job: records.Job, page: contract.DatumPage, most: int) -> Answer:
        """Return datums of a stretch of indexes, with an outcome or without."""
        total = job.listed_to if job.total is None else job.total
        first = page.after + 1
        end = min(total, first + (STRETCH if page.states else most))
        views = await self._views(job, first, end)
        if page.states:
            views = [each for each in views if each.state in page.states]
        shown = await self._with_attempts(job, views[:most])
        answer = paging.cut(((str(each.index), each) for each in shown), most)
        if answer.more or (len(views) <= most and end >= total):
            return answer
        last = shown[-1].index if len(views) > most else end - 1
        return Answer(answer.result, more=True, next=str(last))

    async def _views(self, job: records.Job, first: int, end: int) -> list[contract.DatumView]:
        """Return the datums of these indexes as they stand."""
        found = await self._outcomes.page(
            job, self._folds(job.pipeline, job.id), after=first - 1, limit=max(end - first, 1)
        )
        outcomes = {each.index: each for each in found if each.index < end}
        held: Mapping[int, contract.DatumView] = {}
        if len(outcomes) < end - first and not job.state.ended:
            held = await datum_claims.held(self._data, self._wards.of(job.pipeline), job)
        return [_view(job, index, outcomes, held) for index in range(first, end)]

    async def _with_attempts(
        self, job: records.Job, views: list[contract.DatumView]
    ) -> list[contract.DatumView]:
        """Return the views; those without an outcome with their ledger, where there is one."""
        asked = [each.index for each in views if each.outcome is None]
        found = await self._outcomes.ledgers(job, asked)
        ledgers = {index: msgspec.Raw(data) for index, data in found.items() if _is_json(data)}
        return [
            msgspec.structs.replace(each, attempts=ledgers[each.index])
            if each.index in ledgers
            else each
            for each in views
        ]


def _view(
    job: records.Job,
    index: int,
    outcomes: Mapping[int, messages.Outcome],
    held: Mapping[int, contract.DatumView],
) -> contract.DatumView:
    if index in outcomes:
        return _ended(outcomes[index])
    if index in held:
        return held[index]
    return contract.DatumView(
        index=index,
        state="CANCELLED" if job.state.ended else "WAITING",
        generation=job.generations.get(str(index), 1),
    )


def _ended(outcome: messages.Outcome) -> contract.DatumView:
    generation = 1 if outcome.state is DatumState.SKIPPED else outcome.generation
    view = contract.DatumView(
        index=outcome.index, state=outcome.state, outcome=outcome, generation=generation
    )
    if not outcome.history:
        return view
    ledger = attempts.Ledger(attempts=outcome.history, generation=outcome.generation)
    return msgspec.structs.replace(view, attempts=msgspec.Raw(messages.encode(ledger)))


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
