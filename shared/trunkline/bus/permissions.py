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
- What a request says in its body, the server does not check: who may make a consumer on a stream may
  have it deliver anywhere in the account, and who may purge a stream by a filter may purge all of it.
  So these lists keep the services from mistakes; what they keep from whom stands in docs/security.md.
- A publish whose answer was lost is looked up by a direct get (see `publishing`): who stores may look.
"""

from typing import Literal, assert_never

import msgspec

from trunkline.contracts import subjects
from trunkline.contracts.wards import Ward, Wards

Role = Literal[
    "user",
    "coordinator",
    "coordinator-data",
    "scaler",
    "scaler-data",
    "auditor",
    "auditor-data",
    "worker",
    "issuer",
]

API = "$JS.API"

PIPELINE_TAG, WARD_TAG = "p", "w"
"""Of the tags in a worker's signed claims: `p:<pipeline>`, `w:<ward>`."""


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
            return _coordinator()
        case "coordinator-data":
            return _coordinator_data(wards)
        case "scaler":
            return _scaler()
        case "scaler-data":
            return _scaler_data(wards)
        case "auditor" | "auditor-data":
            return _auditor(role)
        case "worker":
            if pipeline is None:
                raise ValueError("a worker is one of a pipeline")
            return _worker(wards.of(pipeline))
        case "issuer":
            return _issuer()
        case _:
            assert_never(role)


def template() -> Permissions:
    """Return what any pipeline's worker may do, with templates for what its signed tags hold.

    It is what `of` gives a worker, with the pipeline and the ward replaced: so a tag is as good as
    the name that it holds, and who signs tags checks names (see `operator.worker_claims`).
    """
    pipeline, token = "PIPELINE", "0123456789ABCDEF"
    tags = {pipeline: f"{{{{tag({PIPELINE_TAG})}}}}", token: f"{{{{tag({WARD_TAG})}}}}"}

    def templated(subject: str) -> str:
        for name, tag in tags.items():
            subject = subject.replace(name, tag)
        return subject

    allowed = _worker(Ward(pipeline, token))
    return Permissions(
        publish=tuple(templated(each) for each in allowed.publish),
        subscribe=tuple(templated(each) for each in allowed.subscribe),
    )


_TRUTH = (subjects.OUTCOMES_STREAM, subjects.ATTEMPTS_STREAM)
_HELPS = (subjects.CLAIMS_STREAM, subjects.ASSIGNMENTS_STREAM)
_PASSING = (subjects.LOGS_STREAM, subjects.WORKER_EVENTS_STREAM)


def _declaring(api: str, stream: str) -> tuple[str, ...]:
    """Return what it takes to make a stream be there as it is declared."""
    return tuple(f"{api}.STREAM.{verb}.{stream}" for verb in ("CREATE", "INFO", "UPDATE"))


def _following(api: str, stream: str) -> tuple[str, ...]:
    """Return what it takes to read and follow a stream; see `tails`."""
    return (
        f"{api}.STREAM.INFO.{stream}",
        f"{api}.CONSUMER.CREATE.{stream}.*",
        f"{API}.CONSUMER.MSG.NEXT.{stream}.*",
    )


def _looking_up(stream: str) -> str:
    """Return what it takes to read the last message of a subject."""
    return f"{API}.DIRECT.GET.{stream}.>"


def _standing(service: str) -> tuple[str, ...]:
    """Return what it takes to lead the others of a service, and to stand by."""
    own = f"$KV.{subjects.LEADERS}.{service}"
    return own, f"{own}.*"


def _all(*lists: tuple[str, ...]) -> tuple[str, ...]:
    """Return what stands in any of the lists, once each."""
    return tuple(dict.fromkeys(subject for each in lists for subject in each))


def _coordinator() -> Permissions:
    buckets = [subjects.bucket_stream(bucket) for bucket in subjects.BUCKETS]
    commands, consumer = subjects.COMMANDS_STREAM, subjects.COMMANDS_CONSUMER
    return Permissions(
        publish=_all(
            (f"{API}.STREAM.NAMES",),
            *(_declaring(API, each) for each in (commands, subjects.EVENTS_STREAM, *buckets)),
            *(_following(API, each) for each in (subjects.EVENTS_STREAM, *buckets)),
            tuple(_looking_up(each) for each in (subjects.EVENTS_STREAM, *buckets)),
            tuple(f"{API}.DIRECT.GET.{each}" for each in (subjects.EVENTS_STREAM, *buckets)),
            (
                f"{API}.CONSUMER.CREATE.{commands}.{consumer}.{subjects.APPLY}",
                f"{API}.CONSUMER.MSG.NEXT.{commands}.{consumer}",
                f"$JS.ACK.{commands}.{consumer}.>",
            ),
            tuple(f"$KV.{each}.>" for each in subjects.BUCKETS if each != subjects.LEADERS),
            _standing(subjects.COORDINATOR),
            # `_R_` is where the server takes replies that go back through a service import. Allowing
            # it by name, not by `allow_responses`, keeps the answers of requests that are under way
            # while the server reloads its configuration for a new pipeline's user.
            (subjects.EVENTS, "_R_.>"),
        ),
        subscribe=(f"{subjects.COORDINATOR_INBOX}.>", subjects.API),
    )


def _coordinator_data(wards: Wards) -> Permissions:
    api = subjects.data_api(wards)
    shared = (*_TRUTH, *_HELPS, *_PASSING)
    return Permissions(
        publish=_all(
            (f"{api}.STREAM.NAMES",),  # to see what somebody has deleted
            # a pipeline's stream has its name, and a wildcard is a whole token: so all streams,
            # less what is denied below
            _declaring(api, "*"),
            (f"{api}.STREAM.DELETE.*", f"{api}.STREAM.PURGE.*"),
            (f"{api}.CONSUMER.CREATE.*.*.>", f"{api}.CONSUMER.DELETE.*.*"),
            (f"{api}.CONSUMER.INFO.*.*",),
            (f"{api}.STREAM.MSG.GET.*",),  # to see since when a datum waits
            *(_following(api, each) for each in shared),
            tuple(f"{API}.DIRECT.GET.{each}" for each in shared),
            tuple(_looking_up(each) for each in (*_TRUTH, *_HELPS)),
            tuple(f"{api}.STREAM.MSG.DELETE.{each}" for each in (*_TRUTH, *_HELPS)),
            (subjects.DATUMS, subjects.ASSIGNMENTS),
        ),
        deny_publish=(
            *(f"{api}.STREAM.DELETE.{each}" for each in shared),
            *(f"{api}.STREAM.PURGE.{each}" for each in _PASSING),
        ),
        subscribe=(f"{subjects.COORDINATOR_INBOX}.>",),
    )


def _scaler() -> Permissions:
    followed = (subjects.PIPELINES, subjects.JOBS, subjects.NODES, subjects.LEADERS)
    scaling = subjects.bucket_stream(subjects.SCALING)
    return Permissions(
        publish=_all(
            *(_following(API, subjects.bucket_stream(each)) for each in followed),
            (_looking_up(scaling), f"{API}.DIRECT.GET.{scaling}"),
            (_looking_up(subjects.bucket_stream(subjects.LEADERS)),),
            _standing(subjects.SCALER),
            (_looking_up(subjects.EVENTS_STREAM),),
            (f"$KV.{subjects.SCALING}.>", subjects.EVENTS),
        ),
        subscribe=(f"{subjects.SCALER_INBOX}.>",),
    )


def _scaler_data(wards: Wards) -> Permissions:
    return Permissions(
        publish=(
            "$JS.ACK.*.*.1.*.*.1.0",  # as `subjects.ack` builds it, and nothing else
            f"{subjects.data_api(wards)}.CONSUMER.INFO.*.*",
            f"{API}.DIRECT.GET.{subjects.CLAIMS_STREAM}",
            _looking_up(subjects.CLAIMS_STREAM),
            _looking_up(subjects.ATTEMPTS_STREAM),
            subjects.ATTEMPTS,
            subjects.CLAIMS,  # to empty a dead worker's
            subjects.CONTROL,
            subjects.LAST_WORDS,
        ),
        subscribe=(
            f"{subjects.SCALER_INBOX}.>",
            subjects.CLAIMS,
            subjects.disconnects(wards),
            subjects.connects(wards),
        ),
    )


def _auditor(role: Literal["auditor", "auditor-data"]) -> Permissions:
    """Return what it takes to read what jobs have done: no consumer, which would deliver anywhere."""
    buckets = [subjects.bucket_stream(each) for each in (subjects.JOBS, subjects.COMMITS)]
    streams = buckets if role == "auditor" else [subjects.OUTCOMES_STREAM]
    return Permissions(
        publish=_all(
            tuple(f"{API}.DIRECT.GET.{each}" for each in streams),
            tuple(_looking_up(each) for each in streams),
            tuple(f"{API}.STREAM.MSG.GET.{each}" for each in streams if each in buckets),
        ),
        subscribe=(f"{subjects.AUDITOR_INBOX}.>",),
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


def _issuer() -> Permissions:
    """Return what it takes to have a server know that somebody's credentials are revoked."""
    return Permissions(
        publish=(subjects.SYS_CLAIMS_UPDATE, subjects.sys_claims_lookup("*")),
        subscribe=(f"{subjects.ISSUER_INBOX}.>",),
    )
