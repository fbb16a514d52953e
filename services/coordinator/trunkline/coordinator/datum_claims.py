"""Which datums of a job are in workers' hands, by the workers' own claims: to show, never to decide."""

from collections.abc import AsyncIterator, Mapping

from trunkline.bus import tails
from trunkline.bus.connection import NatsConnection
from trunkline.contracts import api, errors, messages, records, subjects
from trunkline.contracts.wards import Ward


async def held(
    connection: NatsConnection, ward: Ward, job: records.Job
) -> Mapping[int, api.DatumView]:
    """Return the datums of a job that are STARTING or RUNNING, by index."""
    found: dict[int, api.DatumView] = {}
    async for claim in _claims(connection, subjects.claims_of(ward)):
        for each in claim.held:
            if each.job != job.id or (each.index in found and not each.executing):
                continue
            generation = job.generations.get(str(each.index), 1)
            if each.generation == generation:
                found[each.index] = api.DatumView(
                    index=each.index,
                    state="RUNNING" if each.executing else "STARTING",
                    generation=generation,
                    worker=claim.worker,
                    since_ns=each.since_ns,
                )
    return found


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
