"""Verbs on repos, branches and commits."""

from trunkline.cli import refs, render, session
from trunkline.cli.options import Asked
from trunkline.client.client import Client
from trunkline.contracts import api, records


def create_repo(asked: Asked, name: str, description: str) -> None:
    """Create a repo."""

    async def body(client: Client) -> None:
        request = api.RepoCreate(name=name, description=description)
        repo = await client.call("repo.create", request, records.Repo)
        render.done(asked, repo, f"repo {name} created")

    session.run(asked, body)


def create_branch(asked: Asked, text: str, head: str) -> None:
    """Create a branch."""

    async def body(client: Client) -> None:
        place = refs.place(text)
        request = api.BranchCreate(repo=place.repo, branch=place.ref, head=head)
        branch = await client.call("branch.create", request, records.Branch)
        render.done(asked, branch, f"branch {place.repo}@{place.ref} created")

    session.run(asked, body)


def list_repos(asked: Asked) -> None:
    """List all repos with their branches."""

    async def body(client: Client) -> None:
        found = await render.gathered(asked, client.every("repo.list", api.RepoView, page=100))
        if render.records(asked, found):
            return
        rows = [
            (
                view.repo.name,
                " ".join(branch.name for branch in view.branches),
                "a pipeline" if view.repo.pipeline else "you",
                render.age(view.repo.created_ns),
                view.repo.description,
                " ".join(f"{each.name}={each.head[:12] or '-'}" for each in view.branches),
            )
            for view in found
        ]
        headings = ("name", "branches", "written by", "age", "description", "heads")
        render.table(asked, headings, rows, wide=1)

    session.run(asked, body)


def list_commits(asked: Asked, repo: str) -> None:
    """List the commits of a repo."""

    async def body(client: Client) -> None:
        listed = client.every("commit.list", records.Commit, key=refs.place(repo).repo)
        found = await render.gathered(asked, listed)
        if render.records(asked, found):
            return
        rows = [
            (
                commit.id,
                commit.branch,
                commit.files,
                render.size(commit.size),
                commit.parent[:12],
                render.age(commit.created_ns),
                commit.manifest,
            )
            for commit in found
        ]
        headings = ("commit", "branch", "files", "size", "parent", "age", "manifest")
        render.table(asked, headings, rows, wide=1)

    session.run(asked, body)


def inspect_repo(asked: Asked, name: str) -> None:
    """Show a repo."""

    async def body(client: Client) -> None:
        view = await client.call("repo.get", api.Named(name=name), api.RepoView)
        render.record(asked, view)

    session.run(asked, body)


def inspect_commit(asked: Asked, text: str) -> None:
    """Show a commit."""

    async def body(client: Client) -> None:
        place = refs.place(text)
        request = api.CommitNamed(repo=place.repo, ref=place.ref)
        render.record(asked, await client.call("commit.get", request, records.Commit))

    session.run(asked, body)


def delete_repo(asked: Asked, name: str) -> None:
    """Delete a repo."""

    async def body(client: Client) -> None:
        repo = await client.delete("repo.delete", api.Named(name=name), records.Repo)
        render.gone(asked, repo, f"repo {name} deleted")

    session.run(asked, body)


def delete_branch(asked: Asked, text: str) -> None:
    """Delete a branch."""

    async def body(client: Client) -> None:
        place = refs.place(text)
        request = api.BranchNamed(repo=place.repo, branch=place.ref)
        branch = await client.delete("branch.delete", request, records.Branch)
        render.gone(asked, branch, f"branch {place.repo}@{place.ref} deleted")

    session.run(asked, body)
