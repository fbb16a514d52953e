"""A stand-in for all workers of a job: it pulls datums raw and answers each with a valid outcome.

It runs nothing, so that what the coordinator and the server do is all that there is to see. Protocol
and order are a worker's: outcome, its PubAck, then the ack. It reads a line with its URL and one with
its ward, and prints one line of JSON at its end.
"""

import argparse
import asyncio
import json
import sys

import uvloop

from trunkline.bus import jetstream, pulls
from trunkline.bus.connection import NatsConnection, connect
from trunkline.contracts import messages, subjects
from trunkline.contracts.messages import DatumTask, Figures, File, Outcome
from trunkline.contracts.states import DatumState
from trunkline.contracts.wards import Ward

WANTED = 2_000


class StandIn:
    """Answers all datums of one job."""

    def __init__(
        self, connection: NatsConnection, ward: Ward, job: str, count: int, *, files: bool
    ) -> None:
        self._ward = ward
        self._connection, self._left, self._files = connection, count, files
        self._ended = asyncio.Event()
        self._acks: dict[int, str] = {}
        self._number = 0
        self._inbox, _ = connection.listen(self._stored, below=True)
        self._pull = pulls.RawPull(
            connection,
            subjects.datums_stream(ward.pipeline),
            subjects.job_consumer(job),
            self._take,
        )
        self.first_ns = 0
        """When the first datum was stored in the queue, by the server's clock."""

    async def run(self) -> None:
        """Return once all are answered."""
        self._pull.start()
        self._pull.want(WANTED)
        await self._ended.wait()
        await self._connection.flush()

    def _take(self, _subject: str, reply: str, data: bytes, _headers: bytes | None) -> None:
        if not self.first_ns:
            self.first_ns = jetstream.parse_ack(reply).at_ns
        if self._pull.wanted <= WANTED // 2:
            self._pull.want(WANTED)
        task = messages.decode("datum", data, DatumTask)
        subject = subjects.outcome(self._ward, task.job, task.index, task.generation)
        self._number += 1
        self._acks[self._number] = reply
        outcome = messages.encode(self._outcome(task))
        self._connection.send(subject, outcome, reply=f"{self._inbox}.{self._number}")

    def _outcome(self, task: DatumTask) -> Outcome:
        output: tuple[File, ...] = ()
        if self._files:
            output = tuple(file for each in task.inputs for file in each.files or ())
        return Outcome(
            pipeline=task.pipeline,
            job=task.job,
            index=task.index,
            generation=task.generation,
            datum=task.datum,
            fingerprint=task.fingerprint,
            state=DatumState.PROCESSED,
            worker="stand-in",
            incarnation="0123456789abcdef",
            files=output,
            output_files=len(output),
            output_bytes=sum(file.size for file in output),
            exit_code=0,
            figures=Figures(wait_s=0.000213, process_s=0.000052, peak_rss_bytes=12_345_678),
            ended_ns=1_700_000_000_000_000_000 + task.index,
        )

    def _stored(self, subject: str, _reply: str, data: bytes, _headers: bytes | None) -> None:
        if b'"error"' in data:
            raise RuntimeError(data)
        self._connection.send(self._acks.pop(int(subject.rpartition(".")[2])), b"+ACK")
        self._left -= 1
        if not self._left:
            self._ended.set()


async def main() -> None:
    """Answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline")
    parser.add_argument("job")
    parser.add_argument("count", type=int)
    parser.add_argument("--files", action="store_true", help="outputs are what comes in")
    asked = parser.parse_args()
    url = sys.stdin.readline().strip()
    ward = Ward(asked.pipeline, sys.stdin.readline().strip())
    inbox = subjects.worker_inbox(ward, "stand-in")
    async with connect(url, name="stand-in", inbox=inbox) as connection:
        made = StandIn(connection, ward, asked.job, asked.count, files=asked.files)
        await made.run()
    print(json.dumps({"first_ns": made.first_ns}))


if __name__ == "__main__":
    uvloop.run(main())
