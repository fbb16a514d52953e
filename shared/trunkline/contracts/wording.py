"""How sentences for people are worded, in all services alike."""


def counted(number: int, what: str) -> str:
    """Return `1 worker`, `2 workers`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
