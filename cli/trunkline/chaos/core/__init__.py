"""What is to break and when; no I/O and no clock."""
