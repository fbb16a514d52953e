"""Looks an ended job over, from the streams and the store alone: nothing lost, nothing twice."""
