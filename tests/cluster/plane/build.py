"""Find the control plane's programs on this machine, or build them from Debian's own packages.

Debian 12 has the last source package with a whole Kubernetes in it (1.20.2, with all it needs beside
it), the Go compiler that fits, and etcd. apt fetches and verifies them from wherever this machine's own
sources point, and they are unpacked, never installed: no root is needed and nothing on the machine
changes. The result is one directory, `~/.cache/trunkline-cluster/<key>`, where the key holds the
versions and a hash of the program; it is found again without asking anybody.

A build works in `<key>.building`, under a lock, and the last thing that it does is to rename the
directory's `done` part to `<key>`. So a crash at any line leaves either nothing under the key or all of
it, and the next build begins by removing what the crashed one left.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KUBERNETES = "1.20.2"
GO = "1.19"
# To be raised when a change of this file changes what is built.
RECIPE = 1
PACKAGES = ("etcd-server", f"golang-{GO}-go", f"golang-{GO}-src")
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
_HERE = Path(__file__).parent
_ROOT = "k8s.io/kubernetes"
_VERSIONED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
# Directories with types marked for the published schema, but no part of the server's.
_NOT_SERVED = ("_test.go", "/testdata/", "/code-generator/", "/sample-apiserver/", "zz_generated")


class CannotBuildError(Exception):
    """This machine cannot build a control plane."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"no control plane can be built here: {why}. Debian 12's packages are needed, main"
            " archive and security; or name another cluster by KUBECONFIG=..."
        )


def home() -> Path:
    """Return the directory in which this recipe's programs lie, once they are built."""
    program = hashlib.sha256((_HERE / "main.go").read_bytes()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = f"kubernetes-{KUBERNETES}-go{GO}-{platform.machine()}-{program}-{RECIPE}"
    return cache / "trunkline-cluster" / key


def find() -> Path | None:
    """Return the directory with the programs, or None where they have yet to be built."""
    return home() if home().is_dir() else None


def find_or_build() -> Path:
    """Return the directory with the programs; takes some five minutes the first time.

    Raises:
        CannotBuildError: A package is not to be had, or a step failed.
    """
    target = home()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            _build(target)
    return target


def _build(target: Path) -> None:
    work = target.with_name(f"{target.name}.building")
    shutil.rmtree(work, ignore_errors=True)
    done = work / "done"
    done.mkdir(parents=True)
    with _step("fetch the packages"):
        _fetch(work)
    with _step("unpack them"):
        source = _unpack(work)
    environment = _environment(work)
    with _step("generate the API's schema"):
        _generate_schema(source, work, environment)
    with _step("compile"):
        _compile(source, done / "control-plane", environment)
    shutil.copy2(work / "root/usr/bin/etcd", done / "etcd")
    for component in COMPONENTS:
        (done / component).symlink_to("control-plane")
    done.rename(target)
    shutil.rmtree(work)


@contextmanager
def _step(what: str) -> Iterator[None]:
    say(f"  {what} ...")
    began = time.monotonic()
    yield
    say(f"  {what}: {time.monotonic() - began:.0f} s")


def say(line: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _fetch(work: Path) -> None:
    """Have apt fetch into the work directory, by the machine's sources, with lists of its own."""
    parts, lists, fetched = work / "apt/parts", work / "apt/lists/partial", work / "fetched"
    for directory in (parts, lists, work / "apt/archives/partial", fetched):
        directory.mkdir(parents=True)
    for sources in _sources():
        (parts / sources.name).write_text(_with_source_packages(sources))
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": parts,
        "Dir::State::lists": work / "apt/lists",
        "Dir::Cache": work / "apt",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    _run([*apt, "update"], fetched)
    _run([*apt, "download", *PACKAGES], fetched)
    _run([*apt, "source", "--download-only", "kubernetes"], fetched)


def _sources() -> list[Path]:
    directory = Path("/etc/apt")
    found = [*directory.glob("sources.list.d/*.sources"), *directory.glob("sources.list.d/*.list")]
    found += directory.glob("sources.list")
    if not found or not shutil.which("apt-get"):
        raise CannotBuildError("this machine has no apt, or no sources for it")
    return found


def _with_source_packages(sources: Path) -> str:
    """Return a file of apt's sources that names source packages too."""
    text = sources.read_text()
    if sources.suffix == ".sources":
        return text.replace("Types: deb\n", "Types: deb deb-src\n")
    binary = [line for line in text.splitlines() if line.startswith("deb ")]
    return "\n".join([*binary, *(line.replace("deb ", "deb-src ", 1) for line in binary), ""])


def _unpack(work: Path) -> Path:
    """Unpack what was fetched; return where the source lies, which Go wants in a GOPATH."""
    for package in (work / "fetched").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(work / "root")], work)
    (archive,) = (work / "fetched").glob("kubernetes_*.orig.tar.*")
    if KUBERNETES not in archive.name:
        why = f"the archive has {archive.name}, and this recipe is for {KUBERNETES}"
        raise CannotBuildError(why)
    source = work / "gopath/src" / _ROOT
    source.mkdir(parents=True)
    _run(["tar", "xf", str(archive), "--strip-components=1", "-C", str(source)], work)
    return source


def _environment(work: Path) -> dict[str, str]:
    go = work / "root/usr/lib" / f"go-{GO}"
    return {
        "PATH": f"{go / 'bin'}:{os.environ['PATH']}",
        "HOME": str(work),
        "GOROOT": str(go),
        "GOPATH": str(work / "gopath"),
        "GOCACHE": str(work / "gocache"),
        "GO111MODULE": "off",  # the tree is older than its go.mod, by this compiler's lights
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }


def _generate_schema(source: Path, work: Path, environment: dict[str, str]) -> None:
    """Write the one generated file that is in no archive, as Kubernetes' own makefile would."""
    generator = work / "openapi-gen"
    vendored = f"{_ROOT}/vendor/k8s.io/kube-openapi/cmd/openapi-gen"
    _run(["go", "build", "-o", str(generator), vendored], source, environment)
    packages = {
        f"{_ROOT}/{path.parent.relative_to(source)}".replace("/staging/src/", "/vendor/")
        for top in ("pkg", "cmd", "plugin", "staging/src/k8s.io")
        for path in (source / top).rglob("*.go")
        if not any(part in str(path) for part in _NOT_SERVED)
        and b"+k8s:openapi-gen=" in path.read_bytes()
    }
    options = {
        "-i": ",".join(sorted(packages)),
        "-p": f"{_ROOT}/pkg/generated/openapi",
        "-O": "zz_generated.openapi",
        "-h": "vendor/k8s.io/code-generator/hack/boilerplate.go.txt",
        "-r": str(work / "violations"),
    }
    words = [word for option in options.items() for word in option]
    _run([str(generator), *words], source, environment)


def _compile(source: Path, program: Path, environment: dict[str, str]) -> None:
    command = source / "cmd/control-plane"
    command.mkdir()
    shutil.copy2(_HERE / "main.go", command)
    major, minor, _ = KUBERNETES.split(".")
    version = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    stamps = " ".join(
        f"-X {_ROOT}/vendor/{package}.{name}={value}"
        for package in _VERSIONED
        for name, value in version.items()
    )
    # No cloud's own code: a third of the time and of the size.
    flags = ["-tags", "providerless", "-trimpath", "-ldflags", f"-s -w {stamps}"]
    target = f"{_ROOT}/cmd/control-plane"
    _run(["go", "build", *flags, "-o", str(program), target], source, environment)


def _run(command: list[str], where: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        why = f"`{' '.join(command)[:200]}` failed:\n{tail}\n"
        raise CannotBuildError(why)
