"""Breaks an installation on this machine again and again, by a schedule that a seed replays."""
