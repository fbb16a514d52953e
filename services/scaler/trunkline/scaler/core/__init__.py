"""The scaler's decisions; no I/O and no clock."""
