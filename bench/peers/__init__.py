"""Other systems doing the same no-op tasks: each a program with pinned requirements of its own."""
