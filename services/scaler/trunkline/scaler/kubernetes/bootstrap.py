"""The bootstrap job in a cluster: `python -m trunkline.scaler.kubernetes.bootstrap --namespace NAMESPACE`.

Makes what is missing of what operator mode needs (`bus.bootstrap`), and keeps it in Secrets (`secret_shelf`).
"""

import argparse
import asyncio
import secrets
import sys
from collections.abc import Sequence

from kubernetes_asyncio import client, config

from trunkline.bus import bootstrap
from trunkline.contracts import errors
from trunkline.runtime.clock import SystemClock
from trunkline.scaler.bootstrap import RESOLVER_DIR
from trunkline.scaler.kubernetes.secret_shelf import ROOT, Secrets


async def run(
    connection: client.ApiClient, namespace: str, *, rotate: str = "", revocation: bool = True
) -> list[str]:
    """Make and distribute it; return the names of Secrets that were written."""
    kept = Secrets(connection, namespace)
    root, version = await kept.read(ROOT)
    made = bootstrap.run(
        root,
        bootstrap.Settings(resolver_dir=RESOLVER_DIR),
        now=SystemClock().wall_ns() // 10**9,
        new_secret=lambda: secrets.token_urlsafe(32),
        rotate=rotate,
    )
    if made:
        await kept.write(ROOT, root, version)
    return [*([ROOT] if made else []), *await kept.distribute(root, revocation=revocation)]


async def _run_here(given: argparse.Namespace) -> list[str]:
    config.load_incluster_config()  # type: ignore[no-untyped-call]
    async with client.ApiClient() as connection:
        return await run(
            connection, given.namespace, rotate=given.rotate, revocation=given.revocation
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the job: print the Secrets that were written, a name a line."""
    parser = argparse.ArgumentParser(prog="trunkline.scaler.kubernetes.bootstrap")
    parser.add_argument("--namespace", required=True, help="of the services")
    parser.add_argument(
        "--rotate", default="", metavar="NAME", help=f"make anew: {', '.join(bootstrap.ROTATABLE)}"
    )
    parser.add_argument(
        "--without-revocation",
        dest="revocation",
        action="store_false",
        help="keep an operator's key from the scaler: workers' credentials end when they expire",
    )
    given = parser.parse_args(arguments)
    try:
        written = asyncio.run(_run_here(given))
    except (errors.TrunklineError, client.ApiException) as error:
        sys.exit(str(error))
    sys.stdout.write("".join(f"{name}\n" for name in written))


if __name__ == "__main__":
    main()
