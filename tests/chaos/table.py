"""What a series looks like to people: a row for each seed, and what all came to."""

from collections.abc import Iterator, Sequence

from tests.chaos.rows import Ran

_VICTIMS = ("worker", "coordinator", "scaler", "nats-server")
HEADINGS = (
    "seed  state      worker  coord  scaler  nats  redelivered  refused  lost  twice"
    "  wall s  undisturbed s  ratio"
)


def row(each: Ran) -> str:
    """Return a job's row: kills by victim, what came twice and was refused, and how long it took.

    Redelivered are attempts beyond a datum's first one, as the outcomes count them.
    """
    killed = [each.faults.get(f"kill {who}", 0) for who in _VICTIMS]
    report = each.report
    told = (report.retried, each.refused, report.lost, report.twice) if report else ("?",) * 4
    return (
        f"{each.seed:4}  {each.state:9}  {killed[0]:6}  {killed[1]:5}  {killed[2]:6}  {killed[3]:4}"
        f"  {told[0]:>11}  {told[1]:>7}  {told[2]:>4}  {told[3]:>5}"
        f"  {each.wall_s:6.1f}  {each.undisturbed_s:13.1f}  {each.ratio:5.2f}"
    )


def beside(each: Ran) -> Iterator[str]:
    """Yield what there is to be said of a job beside its row."""
    if not each.holds:
        yield from each.reasons
        yield from each.unproved
        for finding in (*each.report.broken, *each.report.unknown) if each.report else ():
            yield f"{finding.check}: {finding.text}"
            yield from finding.examples
    if others := {what: n for what, n in each.faults.items() if not what.startswith("kill ")}:
        yield f"beside it: {', '.join(f'{n} {what}' for what, n in others.items())}"


def summary(ran: Sequence[Ran]) -> str:
    """Return what all came to."""
    reports = [each.report for each in ran if each.report]
    faults = sum(sum(each.faults.values()) for each in ran)
    ratios = sorted(each.ratio for each in ran if each.holds) or [0.0]
    return (
        f"{len(ran)} jobs, {sum(not each.holds for each in ran)} failed; {faults} faults, "
        f"{sum(each.retried for each in reports)} redelivered, "
        f"{sum(each.refused for each in ran)} second results refused, "
        f"{sum(each.lost for each in reports)} lost, {sum(each.twice for each in reports)} twice; "
        f"wall over undisturbed: median {ratios[len(ratios) // 2]:.2f}, most {ratios[-1]:.2f}"
    )
