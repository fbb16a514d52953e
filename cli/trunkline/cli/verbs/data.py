"""Verbs about repos, branches, commits and files."""

import click

from trunkline.cli import options
from trunkline.cli.options import asking, example, listing
from trunkline.cli.verbs import completing
from trunkline.cli.verbs.groups import create, delete, get, inspect, list_, main


@create.command("repo", epilog=example('trunkline create repo texts --description "what we count"'))
@click.argument("name")
@click.option("--description", default="", help="For people.")
@asking
def create_repo(asked: options.Asked, name: str, description: str) -> None:
    """Create a repo with the branch `master`."""
    from trunkline.cli import repos

    repos.create_repo(asked, name, description)


@create.command("branch", epilog=example("trunkline create branch texts@dev"))
@click.argument("branch", metavar="REPO@BRANCH", shell_complete=completing.places)
@click.option("--head", default="", metavar="ID", help="The commit it starts at.")
@asking
def create_branch(asked: options.Asked, branch: str, head: str) -> None:
    """Create a branch, empty or at a commit."""
    from trunkline.cli import repos

    repos.create_branch(asked, branch, head)


@options.both(get, list_, "repos", epilog=example("trunkline list repos -o wide"))
@listing
def list_repos(asked: options.Asked) -> None:
    """List repos."""
    from trunkline.cli import repos

    repos.list_repos(asked)


@options.both(get, list_, "commits", epilog=example("trunkline list commits texts --limit 5"))
@click.argument("repo", shell_complete=completing.repos)
@listing
def list_commits(asked: options.Asked, repo: str) -> None:
    """List the commits of a repo."""
    from trunkline.cli import repos

    repos.list_commits(asked, repo)


@get.command(
    "file",
    epilog=example(
        "trunkline get file words@master:/counts -O counts.txt",
        "trunkline get file words@master:/ -r -O results",
    ),
)
@click.argument("path", metavar="REPO@BRANCH:PATH", shell_complete=completing.places)
@click.option(
    "--output-path",
    "-O",
    "target",
    default="",
    type=click.Path(),
    help="File or directory; - is stdout.",
)
@click.option("--recursive", "-r", is_flag=True, help="A whole directory.")
@asking
def get_file(asked: options.Asked, path: str, target: str, *, recursive: bool) -> None:
    """Download a file, or with -r a directory."""
    from trunkline.cli import files

    files.get_file(asked, path, target, recursive=recursive)


@inspect.command("repos", epilog=example("trunkline inspect repo texts"))
@click.argument("name", shell_complete=completing.repos)
@asking
def inspect_repo(asked: options.Asked, name: str) -> None:
    """Show a repo with its branches."""
    from trunkline.cli import repos

    repos.inspect_repo(asked, name)


@inspect.command("commits", epilog=example("trunkline inspect commit texts@master"))
@click.argument("commit", metavar="REPO@REF", shell_complete=completing.places)
@asking
def inspect_commit(asked: options.Asked, commit: str) -> None:
    """Show a commit."""
    from trunkline.cli import repos

    repos.inspect_commit(asked, commit)


@main.command(
    cls=options.Bare,
    epilog=example(
        "trunkline put texts@master -r -f ./texts",
        "echo hello | trunkline put texts@master:/hello -f -",
    ),
)
@click.argument("target", metavar="REPO@BRANCH[:PATH]", shell_complete=completing.places)
@click.option(
    "--file",
    "-f",
    "sources",
    multiple=True,
    required=True,
    type=click.Path(),
    metavar="PATH",
    help="Local; - is stdin.",
)
@click.option("--recursive", "-r", is_flag=True, help="Whole directories.")
@click.option("--replace", is_flag=True, help="Leave nothing of what the branch held before.")
@asking
def put(
    asked: options.Asked, target: str, sources: tuple[str, ...], *, recursive: bool, replace: bool
) -> None:
    """Put files into a branch, as one commit."""
    from trunkline.cli import files

    files.put(asked, target, sources, recursive=recursive, replace=replace)


@main.command(
    cls=options.Bare, epilog=example("trunkline ls texts@master", 'trunkline ls "words@master:/**"')
)
@click.argument("path", metavar="REPO@BRANCH[:GLOB]", shell_complete=completing.places)
@listing
def ls(asked: options.Asked, path: str) -> None:
    """List a directory of a commit, or the files that a glob matches."""
    from trunkline.cli import files

    files.ls(asked, path)


@list_.command("files", epilog=example("trunkline list files texts@master"))
@click.argument("path", metavar="REPO@BRANCH[:GLOB]", shell_complete=completing.places)
@listing
def list_files(asked: options.Asked, path: str) -> None:
    """List a directory of a commit, or the files that a glob matches: the same as `ls`."""
    from trunkline.cli import files

    files.ls(asked, path)


@main.command(cls=options.Bare, epilog=example('trunkline cat "words@master:/*"'))
@click.argument("path", metavar="REPO@BRANCH:GLOB", shell_complete=completing.places)
@options.reaching
def cat(asked: options.Asked, path: str) -> None:
    """Write the contents of files to stdout."""
    from trunkline.cli import files

    files.cat(asked, path)


@delete.command("repos", epilog=example("trunkline delete repo texts"))
@click.argument("name", shell_complete=completing.repos)
@asking
def delete_repo(asked: options.Asked, name: str) -> None:
    """Delete a repo."""
    from trunkline.cli import repos

    repos.delete_repo(asked, name)


@delete.command("branch", epilog=example("trunkline delete branch texts@dev"))
@click.argument("branch", metavar="REPO@BRANCH", shell_complete=completing.places)
@asking
def delete_branch(asked: options.Asked, branch: str) -> None:
    """Delete a branch with its commits; `master` is there again at once, empty."""
    from trunkline.cli import repos

    repos.delete_branch(asked, branch)
