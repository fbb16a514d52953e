"""The command `trunkline`."""
