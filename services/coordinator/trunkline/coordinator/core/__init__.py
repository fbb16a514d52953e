"""The coordinator's decisions; no I/O and no clock."""
