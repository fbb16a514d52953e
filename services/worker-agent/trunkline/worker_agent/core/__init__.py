"""The worker agent's decisions; no I/O and no clock."""
