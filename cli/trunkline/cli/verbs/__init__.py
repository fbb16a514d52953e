"""What can be asked for, and nothing of how it is done.

These modules and `options` import click only, so that `--help`, `version` and completion answer at
once. Each verb imports its body when it is called: importing NATS costs half a second.
"""
