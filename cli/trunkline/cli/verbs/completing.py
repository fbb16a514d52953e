"""What may be typed next where a name is wanted; verbs and options are completed without any of this.

Like the modules beside it, this one imports click only; `completions` asks when a name is wanted.
"""

from collections.abc import Callable

import click

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def _names_of(*kinds: str) -> Completion:
    """Return what completes names of some kinds of things; see `completions.KINDS`."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        from trunkline.cli import completions

        return completions.names(context.params.get("home"), incomplete, kinds)

    return complete


pipelines = _names_of("pipelines")
repos = _names_of("repos")
places = _names_of("places")
workers = _names_of("workers")
jobs = _names_of("pipelines", "jobs")
jobs_and_places = _names_of("pipelines", "jobs", "places")
anything = _names_of("pipelines", "jobs", "workers")
