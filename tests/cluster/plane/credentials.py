"""Fresh certificates and tokens of one control plane, made by openssl, and kubeconfigs from them."""

import json
import secrets
import subprocess
from base64 import b64encode
from pathlib import Path

_GROUPS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "system:masters",
    "system:kube-scheduler": "",
}
# The last one is the first address of the service range: what a pod's own client would ask for.
_NAMES = "IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc,IP:10.96.0.1"


class PlaneCredentials:
    """Lie in the plane's directory and are valid for two days."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tokens = {user: secrets.token_urlsafe(24) for user in _GROUPS}
        self.authority = directory / "ca.crt"
        self.certificate, self.key = directory / "server.crt", directory / "server.key"
        self.account_key = directory / "accounts.key"
        """Signs the tokens of service accounts."""
        self.token_file = directory / "tokens.csv"

    def make(self) -> None:
        """Write all of them; what was there is replaced."""
        authority_key, extensions = self.directory / "ca.key", self.directory / "server.ext"
        request = self.directory / "server.csr"
        for key in (authority_key, self.key):
            self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)  # fmt: skip
        self._openssl("genrsa", "-out", self.account_key, "2048")
        name = ("-subj", "/CN=trunkline-tests", "-days", "2")
        self._openssl("req", "-x509", "-new", "-key", authority_key, "-out", self.authority, *name)
        self._openssl(
            "req", "-new", "-key", self.key, "-subj", "/CN=kube-apiserver", "-out", request
        )
        extensions.write_text(f"subjectAltName={_NAMES}\n")
        signer = ("-CA", self.authority, "-CAkey", authority_key, "-CAcreateserial", "-days", "2")
        self._openssl(
            "x509",
            "-req",
            "-in",
            request,
            *signer,
            "-extfile",
            extensions,
            "-out",
            self.certificate,
        )
        rows = [f'{token},{user},{user},"{_GROUPS[user]}"\n' for user, token in self.tokens.items()]
        self.token_file.write_text("".join(rows))

    def kubeconfig(self, user: str, server: str) -> Path:
        """Write the file by which this user reaches this server; return its path."""
        path = self.directory / f"{user.rpartition(':')[2]}.kubeconfig"
        path.write_text(kubeconfig(server, self.tokens[user], self.authority))
        return path

    def _openssl(self, *words: str | Path) -> None:
        command = ["openssl", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            message = f"`{' '.join(command)}` failed: {done.stderr}"
            raise RuntimeError(message)


def kubeconfig(server: str, token: str, authority: Path | None = None) -> str:
    """Return a kubeconfig (JSON is YAML) for one user of one server."""
    cluster: dict[str, str] = {"server": server}
    if authority is not None:
        cluster["certificate-authority-data"] = b64encode(authority.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
    return json.dumps(config, indent=1)
