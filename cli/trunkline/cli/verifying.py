"""The verb `verify`: whether a job lost nothing and did nothing twice, whoever coordinates it."""

import asyncio
import os

from trunkline.audit import evidence, verifying
from trunkline.audit.core.findings import Report
from trunkline.cli import refs, render, saying, session
from trunkline.cli.options import Asked
from trunkline.contracts import errors


class NoAuditorError(errors.TrunklineError):
    """How to read the records is not known."""

    def __init__(self) -> None:
        super().__init__(
            "verify reads records and outcomes itself, as the users `auditor` and `auditor-data`: name"
            " their URLs by TRUNKLINE_AUDITOR_URL and TRUNKLINE_AUDITOR_DATA_URL, or start the"
            " installation anew with `trunkline up`, which makes them"
        )


def verify(asked: Asked, text: str) -> None:
    """Print what was found; leave with 1 where something does not hold, with 5 where nothing tells."""

    async def body() -> Report:
        pipeline, digits = refs.split_job(text)
        async with evidence.opened(*_where(asked)) as found:
            return await verifying.verify(found, await found.job(pipeline, digits))

    with session.reporting():
        report = asyncio.run(body())
        if not render.one(asked, report):
            _show(asked, report)
        problem = verifying.as_error(report)
        if problem is not None:
            raise problem


def _where(asked: Asked) -> tuple[str, str, str]:
    """Return the URLs of both users and of the store."""
    control = os.environ.get("TRUNKLINE_AUDITOR_URL", "")
    data = os.environ.get("TRUNKLINE_AUDITOR_DATA_URL", "")
    context = session.where(asked.home)
    if asked.home is not None or not (control and data):
        control, data = context.auditor, context.auditor_data
    if not (control and data):
        raise NoAuditorError
    return control, data, context.store


def _show(asked: Asked, report: Report) -> None:
    rows = [(each.check, str(each.verdict), each.text) for each in report.findings]
    render.table(asked, ("check", "holds", "found"), rows)
    for finding in report.findings:
        for example in finding.examples:
            saying.say(f"{finding.check}: {example}")
