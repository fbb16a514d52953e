"""Who may publish and subscribe to what: one pure function, for every way to hand out credentials.

What to know before changing a line:

- The server checks the subject that a client publishes to, never the *reply* subject it hands over.
  JetStream then answers there with its own authority; so what one role must not be able to forge
  lies in another account, which replies cannot leave, or inside DATA under a token without which
  its subject cannot be spelled (see `wards`). So no list of a worker's may hold a wildcard in the
  place of such a token, and a worker reaches no part of JetStream's API.
- A worker's own streams are named by whole tokens. `$JS.ACK.*.*.<its stream>.>` would let it settle
  other pipelines' datums, since the server does not read those wildcards' tokens as numbers.
- A direct get with a query in its body escapes the check of its subject: a worker gets the single
  form only, where the subject is in the subject.
- Nobody in CTL or DATA subscribes to `_INBOX.>`: each role has its own inbox prefix.
"""

from typing import Literal, assert_never

import msgspec

from trunkline.contracts import subjects
from trunkline.contracts.wards import Ward, Wards

Role = Literal["user", "coordinator", "coordinator-data", "scaler", "scaler-data", "worker"]

API = "$JS.API"


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """What one user may do. What is not allowed is denied."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    deny_publish: tuple[str, ...] = ()


def of(role: Role, wards: Wards, pipeline: str | None = None) -> Permissions:
    """Return the permissions of a role; a worker's are for one pipeline."""
    match role:
        case "user":
            return Permissions(publish=(subjects.APPLY, subjects.API), subscribe=("_INBOX.>",))
        case "coordinator":
            return _COORDINATOR
        case "coordinator-data":
            return _coordinator_data(wards)
        case "scaler":
            return _SCALER
        case "scaler-data":
            return _scaler_data(wards)
        case "worker":
            if pipeline is None:
                raise ValueError("a worker is one of a pipeline")
            return _worker(wards.of(pipeline))
        case _:
            assert_never(role)


_COORDINATOR = Permissions(
    # `_R_` is where the server takes replies that go back through a service import. Allowing it by
    # name, not by `allow_responses`, keeps the answers of requests that are under way while the
    # server reloads its configuration for a new pipeline's user.
    publish=(f"{API}.>", "$JS.ACK.>", "$KV.>", subjects.EVENTS, "_R_.>"),
    deny_publish=(
        f"{API}.ACCOUNT.PURGE.>",
        *(
            f"{API}.STREAM.{verb}.{subjects.bucket_stream(bucket)}"
            for bucket in subjects.BUCKETS
            for verb in ("DELETE", "PURGE")
        ),
        f"{API}.STREAM.DELETE.{subjects.COMMANDS_STREAM}",
    ),
    subscribe=(f"{subjects.COORDINATOR_INBOX}.>", subjects.API, subjects.EVENTS),
)


def _coordinator_data(wards: Wards) -> Permissions:
    api = subjects.data_api(wards)
    return Permissions(
        publish=(
            f"{api}.>",
            f"{API}.CONSUMER.MSG.NEXT.*.*",
            f"{API}.DIRECT.GET.>",
            "$JS.ACK.>",
            subjects.DATUMS,
            subjects.ASSIGNMENTS,
            subjects.WORKER_EVENTS,
        ),
        deny_publish=(
            f"{api}.ACCOUNT.PURGE.>",
            f"{api}.STREAM.DELETE.{subjects.OUTCOMES_STREAM}",
            f"{api}.STREAM.DELETE.{subjects.ATTEMPTS_STREAM}",
        ),
        subscribe=(f"{subjects.COORDINATOR_INBOX}.>", subjects.CLAIMS),
    )


def _reading(stream: str) -> tuple[str, ...]:
    """Return what it takes to read and to follow a stream, all of it."""
    return (
        f"{API}.STREAM.INFO.{stream}",
        f"{API}.CONSUMER.CREATE.{stream}.>",
        f"{API}.CONSUMER.MSG.NEXT.{stream}.*",
        f"{API}.DIRECT.GET.{stream}",
        f"{API}.DIRECT.GET.{stream}.>",
    )


_SCALER = Permissions(
    publish=(
        *(
            subject
            for bucket in (
                subjects.PIPELINES,
                subjects.JOBS,
                subjects.NODES,
                subjects.SCALING,
            )
            for subject in _reading(subjects.bucket_stream(bucket))
        ),
        f"$KV.{subjects.SCALING}.>",
        subjects.EVENTS,
    ),
    subscribe=(f"{subjects.SCALER_INBOX}.>",),
)


def _scaler_data(wards: Wards) -> Permissions:
    return Permissions(
        publish=(
            "$JS.ACK.*.*.1.*.*.1.0",  # as `subjects.ack` builds it, and nothing else
            f"{subjects.data_api(wards)}.CONSUMER.INFO.*.*",
            f"{API}.DIRECT.GET.{subjects.CLAIMS_STREAM}",
            f"{API}.DIRECT.GET.{subjects.CLAIMS_STREAM}.>",
            f"{API}.DIRECT.GET.{subjects.ATTEMPTS_STREAM}.>",
            subjects.ATTEMPTS,
            subjects.CLAIMS,  # to empty a dead worker's
            subjects.CONTROL,
            subjects.WORKER_EVENTS,
        ),
        subscribe=(
            f"{subjects.SCALER_INBOX}.>",
            subjects.CLAIMS,
            subjects.disconnects(wards),
            subjects.connects(wards),
        ),
    )


def _worker(ward: Ward) -> Permissions:
    stream = subjects.datums_stream(ward.pipeline)
    root, assignments = subjects.ROOT, subjects.assignments(ward)
    outcomes, attempts = f"{root}.outcomes.{ward}.>", f"{root}.attempts.{ward}.>"
    return Permissions(
        publish=(
            f"{API}.CONSUMER.MSG.NEXT.{stream}.*",
            f"$JS.ACK.{stream}.>",
            outcomes,
            attempts,
            subjects.claims_of(ward),
            subjects.logs_of(ward),
            subjects.worker_events_of(ward),
            f"{API}.DIRECT.GET.{subjects.OUTCOMES_STREAM}.{outcomes}",
            f"{API}.DIRECT.GET.{subjects.ATTEMPTS_STREAM}.{attempts}",
            f"{API}.DIRECT.GET.{subjects.ASSIGNMENTS_STREAM}.{assignments}",
        ),
        subscribe=(
            subjects.worker_inboxes(ward),
            subjects.control_of(ward),
            assignments,
        ),
    )
