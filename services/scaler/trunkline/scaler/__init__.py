"""Keeps as many workers as the specs and the nodes ask for, and reaps what dead ones held."""
