"""What a process logs is bounded, whoever has it say something; what is left out is counted."""

import asyncio
import io
import json
import logging

from hypothesis import given
from hypothesis import strategies as st

from trunkline.runtime import logs
from trunkline.runtime.pacing import MOST, OTHERS, PHRASES, LeftOut, Pace, Paced


def test_a_flood_of_one_phrase_is_cut_and_counted_and_hides_no_other() -> None:
    now_s = [0.0]
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(Paced(handler, lambda: now_s[0], Pace(most=3, while_s=60)))
    log = logging.getLogger("flooded")
    log.propagate = False
    log.addHandler(handler)
    for number in range(1000):
        log.warning("claim not taken", extra={"error": str(number)})
    log.error("job failed to go on")
    assert written.getvalue().splitlines() == ["WARNING claim not taken"] * 3 + [
        "ERROR job failed to go on"
    ]
    now_s[0] = 61.0
    log.warning("another thing")
    log.warning("claim not taken")
    assert written.getvalue().splitlines()[4:] == [
        "WARNING log records were left out",
        "WARNING another thing",
        "WARNING claim not taken",
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 50)), max_size=60))
def test_every_record_is_written_or_counted_once(records: list[tuple[str, float]]) -> None:
    pace, now_s = Pace(most=2, while_s=30), 0.0
    written = 0
    told: list[LeftOut] = []
    for phrase, passed_s in records:
        now_s += passed_s
        told += pace.over(now_s)
        written += pace.take("log", phrase, logging.WARNING, now_s)
    told += pace.over(now_s + 31)  # 30 more may be a hair less, as sums of floats are
    assert written + sum(each.records for each in told) == len(records)


def test_a_logger_whose_phrases_vary_is_cut_as_well_and_costs_few_counters() -> None:
    pace = Pace()
    written = sum(
        pace.take("library", f"no {at} is known", logging.ERROR, 0.0) for at in range(9_000)
    )
    assert written == PHRASES + MOST
    assert pace.take("another", "a phrase", logging.ERROR, 0.0)
    assert pace.over(61.0) == [LeftOut(OTHERS, logging.ERROR, 9_000 - written)]
    assert pace.take("library", "a new one", logging.ERROR, 61.0)


def test_what_nobody_waits_for_is_said_under_one_phrase() -> None:
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    logs.configure("scaler", stream=stream)

    async def fail() -> None:
        loop = asyncio.get_running_loop()
        logs.say_failures(loop)
        for at in range(300):
            loop.create_future().set_exception(ValueError(f"payload {at}"))
        loop.call_exception_handler({"message": "that is all"})

    try:
        asyncio.run(fail())
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(said) == MOST
    assert {each["message"] for each in said} == {"something failed that nobody waits for"}
    assert "ValueError: payload 0" in said[0]["error"]
    assert said[0]["reason"].startswith("Future exception was never retrieved future=<Future")
