"""The commands of a job: what all runs of them have in common, made once for each job."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from trunkline.contracts.messages import JobTicket
from trunkline.contracts.spec import Secret
from trunkline.worker_agent import environment, process, protocol
from trunkline.worker_agent.work import Datum

_OUR_TOOLS = os.path.dirname(sys.executable)  # noqa: PTH120
"""Where `trunkline-next` is on this machine."""


_UMASK, _GROUPS_UMASK = 0o022, 0o002
"""Where commands may be another user than we are, what they make is the group's, too."""


class Secrets(Protocol):
    """Hands secrets over to commands, as far as whoever started the worker has not done that."""

    async def hand_over(self, wanted: Sequence[Secret]) -> dict[str, str]:
        """Let commands see the files of these secrets, and return the variables that they get.

        Raises:
            SecretError: One is not there, or cannot be shown.
        """
        ...


class Made(NamedTuple):
    """What was made of a job's ticket."""

    ticket: JobTicket
    secrets: dict[str, str]
    """The variables that hold secrets."""
    command: process.Command
    err_cmd: process.Command


class Facts(NamedTuple):
    """The variables of a job, without secrets and what the machine adds."""

    ticket: JobTicket
    variables: dict[str, str]
    lines: str
    """The same, as a file."""

    def beside(self, own: Mapping[str, str]) -> str:
        """Return the lines of a file of these and a datum's own, which stand above them."""
        lines = self.lines
        if not self.variables.keys().isdisjoint(own):
            left = self.variables.keys() - own.keys()
            lines = environment.lines({name: self.variables[name] for name in sorted(left)})
        return lines + environment.lines(own)


class JobCommands:
    """Makes the commands of jobs, and keeps those that were used last.

    Args:
        secrets: Hands them over.
        worker: This worker's name.
        address: The IP address at which it is reached.
        pfs: Where commands find their files.
        work: Where they start, if the spec does not say that.
        inherited: The part of the environment that every command gets.
        foreign: Whether commands run in a container of their own: in its directory, by its environment, as
            its user or the spec's.
    """

    def __init__(
        self,
        *,
        secrets: Secrets,
        worker: str,
        address: str,
        pfs: str,
        work: str,
        inherited: Mapping[str, str],
        foreign: bool,
    ) -> None:
        self._secrets, self._worker, self._address = secrets, worker, address
        self._pfs, self._work = pfs, work
        self._inherited, self._foreign = inherited, foreign
        self._made: dict[str, Made] = {}
        """By job, the one that was used last at the end."""
        self._facts: Facts | None = None
        """Of the job that was asked for last."""

    def facts(self, datum: Datum) -> Facts:
        """Return the variables of a datum's job."""
        ticket = datum.ticket
        if self._facts is None or self._facts.ticket is not ticket:
            made = environment.of_job(
                ticket, datum.task, pfs=self._pfs, worker=self._worker, address=self._address
            )
            self._facts = Facts(ticket, made, environment.lines(made))
        return self._facts

    async def of(self, datum: Datum) -> Made:
        """Return the commands of a datum's job, the same objects until a secret has another value.

        Raises:
            SecretError: One is not there, or cannot be shown.
        """
        ticket = datum.ticket
        wanted = ticket.transform.secrets
        secrets = await self._secrets.hand_over(wanted) if wanted else {}
        made = self._made.pop(ticket.job, None)
        if (
            made is None
            or (made.ticket is not ticket and made.ticket != ticket)
            or made.secrets != secrets
        ):
            made = self._make(datum, secrets)
        self._made[ticket.job] = made
        if len(self._made) > protocol.RECIPES:
            del self._made[next(iter(self._made))]
        return made

    def _make(self, datum: Datum, secrets: dict[str, str]) -> Made:
        transform = datum.ticket.transform
        env = {**self._inherited, **secrets, **self.facts(datum).variables}
        if transform.datum_batching and not self._foreign:
            env["PATH"] = f"{env['PATH']}{os.pathsep}{_OUR_TOOLS}"

        def command(argv: tuple[str, ...], stdin: tuple[str, ...]) -> process.Command:
            lines = "".join(f"{line}\n" for line in stdin)
            return process.Command(
                argv=argv,
                env=env,
                cwd=transform.working_dir or ("" if self._foreign else self._work),
                stdin=lines.encode("utf-8", "surrogateescape"),
                umask=_GROUPS_UMASK if self._foreign else _UMASK,
                inherit_env=self._foreign,
                user=transform.user if self._foreign else "",
            )

        return Made(
            datum.ticket,
            secrets,
            command(transform.cmd, transform.stdin),
            command(transform.err_cmd, transform.err_stdin),
        )
