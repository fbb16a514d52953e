"""What is in workers' hands, by their own claims: to show, and to choose by where a wrong choice does no harm."""

import contextlib
from collections.abc import Mapping

from trunkline.bus.connection import NatsConnection
from trunkline.contracts import api, errors, messages, records, subjects
from trunkline.contracts.wards import Ward


async def held(
    connection: NatsConnection, ward: Ward, job: records.Job
) -> Mapping[int, api.DatumView]:
    """Return the datums of a job that are STARTING or RUNNING, by index."""
    found: dict[int, api.DatumView] = {}
    for claim in await current(connection, ward):
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


async def current(connection: NatsConnection, ward: Ward) -> list[messages.Claim]:
    """Return the last claims of a pipeline's workers, those that are gone included."""
    subject = subjects.claims_of(ward)
    found: list[messages.Claim] = []
    for stored in await connection.scan(subjects.CLAIMS_STREAM, subject):
        with contextlib.suppress(errors.MalformedMessageError):
            found.append(messages.decode(stored.subject, stored.data, messages.Claim))
    return found
