"""Jobs while everything around them is killed: `python -m tests.chaos`, one line for each seed."""
