"""Who may do what: the table in docs/security.md is what a real server says, in both forms."""

from tests.support import matrix
from tests.support.nats import TestServer


async def test_the_page_says_what_the_server_lets_each_role_do(either_server: TestServer) -> None:
    found = await matrix.tried(either_server)
    assert matrix.rendered(found) == matrix.PAGE.read_text(), (
        "run `make docs`, and read what changes"
    )


def test_a_worker_may_do_nothing_outside_its_pipeline() -> None:
    """Whatever is added to the table: a deed against another pipeline, or all, is no worker's."""
    for line in matrix.PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(matrix.ROLES) + 1 and cells[-1] == "yes":
            assert not {"another", "other", "all", "everything", "any"} & set(cells[0].split())
