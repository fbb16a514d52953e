"""What a process logs is bounded, whoever has it say something; what is left out is counted."""

import io
import logging

from hypothesis import given
from hypothesis import strategies as st

from trunkline.runtime.pacing import LeftOut, Pace, Paced


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
