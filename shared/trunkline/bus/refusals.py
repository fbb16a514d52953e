"""The subjects that the server refuses to a connection, and who is told of each.

A refusal comes as an event of its own, not as an answer. Of a subscription it is kept for whoever
subscribes, of a publish for the next one on that subject and for the next `flush`, unless it was a
request or something else that somebody waits for, who is told at once.
"""

import logging
from collections.abc import Callable

from trunkline.bus.wire import Violation
from trunkline.contracts import errors

log = logging.getLogger(__name__)

UNPUBLISHED = 1000
"""Refused subjects that are remembered."""


class Refusals:
    """Those of one connection; subjects are lower-cased, as nats-py hands them over."""

    def __init__(self) -> None:
        self.count = 0
        """How many the server has refused."""
        self.callbacks: set[Callable[[Violation], bool]] = set()
        """Each is told of all, and returns whether the subject is its own."""
        self._unheard: set[str] = set()
        """May not be subscribed to."""
        self._unpublished: dict[str, bool] = {}
        """May not be published to: whether that was told."""

    def add(self, connection: str, violation: Violation, *, told: bool) -> None:
        """Take one into account; `told` if somebody that waited for it knows already."""
        self.count += 1
        log.error(
            "permission violation",
            extra={
                "connection": connection,
                "kind": violation.kind,
                "subject": errors.shown(violation.subject),
            },
        )
        for callback in tuple(self.callbacks):
            told = callback(violation) or told
        if violation.kind == "subscription":
            self._unheard.add(violation.subject)
        elif len(self._unpublished) < UNPUBLISHED:
            self._unpublished.setdefault(violation.subject, told)

    def before_publish(self, subject: str) -> None:
        """Raise PermissionViolationError if the subject was refused before."""
        if self._unpublished and subject.lower() in self._unpublished:
            self._unpublished[subject.lower()] = True
            raise errors.PermissionViolationError(subject)

    def after_flush(self) -> None:
        """Raise PermissionViolationError for a subject that was published to and nobody was told of."""
        for subject, told in self._unpublished.items():
            if not told:
                self._unpublished[subject] = True
                raise errors.PermissionViolationError(subject)

    def before_subscribe(self, subject: str) -> None:
        """Forget what an earlier server said of it."""
        self._unheard.discard(subject.lower())

    def after_subscribe(self, subject: str) -> None:
        """Raise PermissionViolationError if it may not be subscribed to."""
        if subject.lower() in self._unheard:
            raise errors.PermissionViolationError(subject)

    def at_another_server(self) -> None:
        """Forget what may not be published to: the next server may know better."""
        self._unpublished.clear()
