"""Whether what a pipeline reads leads back to itself; no spec that closes a cycle is ever accepted."""

from collections.abc import Callable, Iterable


def find(name: str, reads: Callable[[str], Iterable[str]]) -> list[str]:
    """Return a cycle through `name`, beginning and ending with it; empty if there is none.

    Args:
        name: The pipeline that would close it.
        reads: Which repos a pipeline reads; a repo that no pipeline owns leads nowhere. Asked for what
            `name` rests on only, which is little among thousands of pipelines.
    """
    came_from: dict[str, str] = {}
    todo = [name]
    while todo:
        current = todo.pop()
        for upstream in reads(current):
            if upstream == name:
                path = [name, current]
                while path[-1] != name:
                    path.append(came_from[path[-1]])
                return path
            if upstream not in came_from:
                came_from[upstream] = current
                todo.append(upstream)
    return []
