"""On the PYTHONPATH of processes that are to be broken from inside."""
