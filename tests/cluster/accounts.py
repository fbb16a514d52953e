"""Being a service account: a kubeconfig with a token of its own."""

from pathlib import Path
from typing import Any

from kubernetes_asyncio import client
from tests.cluster.plane import credentials

TOKEN_S = 3600


async def kubeconfig(
    connection: client.ApiClient, namespace: str, account: str, path: Path
) -> Path:
    """Write the file by which an account reaches the cluster; return its path."""
    core: Any = client.CoreV1Api(connection)
    body = {"spec": {"expirationSeconds": TOKEN_S}}
    made = await core.create_namespaced_service_account_token(account, namespace, body)
    here = connection.configuration
    authority = Path(str(here.ssl_ca_cert))
    path.write_text(credentials.kubeconfig(str(here.host), made.status.token, authority))
    return path


async def can_have_pods(connection: client.ApiClient, namespace: str) -> bool:
    """Say whether pods are admitted to a namespace: old servers want the account's secret, too."""
    accounts = (await client.CoreV1Api(connection).list_namespaced_service_account(namespace)).items
    version = await client.VersionApi(connection).get_code()
    with_secret = int(version.minor.rstrip("+")) < 24
    return any(account.secrets or not with_secret for account in accounts)
