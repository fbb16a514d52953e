"""The scaler on a real API server with a hundred nodes: what it asks for, and how fast it is."""
