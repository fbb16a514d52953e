"""The request `datum.list`: each datum of a job as it stands, by index.

A datum with an outcome shows that; one without is RUNNING where a worker's claim says that it
executes it, else WAITING. A page that looks for rare states stops after a stretch of indexes and says
where to go on, so that no request takes long, and an empty page may have a next one.
"""

from collections.abc import AsyncIterator, Mapping
from functools import partial

import msgspec

from trunkline.bus import tails
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import api as contract
from trunkline.contracts import attempts, errors, messages, records, subjects
from trunkline.contracts.states import DatumState
from trunkline.contracts.wards import Wards
from trunkline.coordinator import paging
from trunkline.coordinator.api import Answer, Handler, decode
from trunkline.coordinator.catalog import Catalog
from trunkline.coordinator.commits import InvalidRequestError
from trunkline.coordinator.handlers import Folds
from trunkline.coordinator.outcomes import Outcomes
from trunkline.storage import together

WAITING, RUNNING = "WAITING", "RUNNING"

STRETCH = 5000
"""Indexes that one request looks at when it looks for datums without an outcome."""


class DatumViews:
    """Answers `datum.list`; `data` is the connection in DATA."""

    def __init__(
        self,
        catalog: Catalog,
        outcomes: Outcomes,
        folds: Folds,
        data: NatsConnection,
        wards: Wards,
    ) -> None:
        self._catalog, self._outcomes, self._folds = catalog, outcomes, folds
        self._data, self._wards = data, wards

    def all(self) -> dict[str, Handler]:
        """Return the handlers by verb."""
        return {"datum.list": self.datum_list}

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
            job = await self._known(page)
            rare = page.states and not {WAITING, RUNNING} & set(page.states)
            answer = await (self._ended if rare else self._all)(job, page, most)
            # Outcomes that are compacted while they are read are missed in the stream: they are in
            # the archive then, and the record says so.
            if (await self._known(page)).outcomes == job.outcomes:
                return answer

    async def _known(self, page: contract.DatumPage) -> records.Job:
        job = await self._catalog.jobs.find(page.pipeline, page.job)
        if job is None:
            raise errors.NotFoundError("job", f"{page.pipeline}@{page.job}")
        return job

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
        found = await self._outcomes.page(
            job, self._folds(job.pipeline, job.id), after=page.after, limit=max(end - first, 1)
        )
        outcomes = {each.index: each for each in found if each.index < end}
        open_ones = len(outcomes) < end - first and not job.state.ended
        running = await self._executing(job) if open_ones else frozenset()
        views = [_view(index, outcomes, running) for index in range(first, end)]
        if page.states:
            views = [each for each in views if each.state in page.states]
        shown = await self._with_attempts(job, views[:most])
        answer = paging.cut(((str(each.index), each) for each in shown), most)
        if answer.more or (len(views) <= most and end >= total):
            return answer
        last = shown[-1].index if len(views) > most else end - 1
        return Answer(answer.result, more=True, next=str(last))

    async def _executing(self, job: records.Job) -> frozenset[int]:
        """Return the indexes that workers say they execute."""
        claims = subjects.claims_of(self._wards.of(job.pipeline))
        found: set[int] = set()
        async for claim in _claims(self._data, claims):
            found.update(held.index for held in claim.held if held.executing and held.job == job.id)
        return frozenset(found)

    async def _with_attempts(
        self, job: records.Job, views: list[contract.DatumView]
    ) -> list[contract.DatumView]:
        """Return the views; those without an outcome with their ledger, where there is one."""
        asked = [each for each in views if each.outcome is None]
        ward = self._wards.of(job.pipeline)
        subjects_of = (subjects.attempts(ward, job.id, each.index) for each in asked)
        reads = [
            partial(self._data.last, subjects.ATTEMPTS_STREAM, subject) for subject in subjects_of
        ]
        ledgers = {
            view.index: msgspec.Raw(stored.data)
            for view, stored in zip(asked, await together.run(reads), strict=True)
            if stored is not None and _is_json(stored.data)
        }
        return [
            msgspec.structs.replace(each, attempts=ledgers[each.index])
            if each.index in ledgers
            else each
            for each in views
        ]


async def _claims(connection: NatsConnection, subject: str) -> AsyncIterator[messages.Claim]:
    tail = tails.tail(
        connection, subjects.CLAIMS_STREAM, [subject], last_per_subject=True, end=True
    )
    async with tail as batches:
        async for batch in batches:
            for stored in batch:
                try:
                    yield messages.decode(stored.subject, stored.data, messages.Claim)
                except errors.MalformedMessageError:
                    continue


def _view(
    index: int, outcomes: Mapping[int, messages.Outcome], running: frozenset[int]
) -> contract.DatumView:
    if index in outcomes:
        return _ended(outcomes[index])
    return contract.DatumView(index=index, state=RUNNING if index in running else WAITING)


def _ended(outcome: messages.Outcome) -> contract.DatumView:
    view = contract.DatumView(index=outcome.index, state=outcome.state, outcome=outcome)
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
