"""What workers are told of the scaler's environment: nothing that is a secret of the services."""

from trunkline.local import cluster
from trunkline.local.scaler import LocalSettings
from trunkline.scaler.settings import Settings


def test_workers_are_told_no_secret_of_the_services_and_no_port_of_theirs() -> None:
    given = {
        "TRUNKLINE_CTL_URL": "nats://scaler:x@127.0.0.1",
        "TRUNKLINE_DATA_URL": "nats://scaler-data:x@127.0.0.1",
        "TRUNKLINE_DATA_KEY": "the key of all wards",
        "TRUNKLINE_PROBE_PORT": "8081",
        "TRUNKLINE_HEARTBEAT_S": "1",
        "PATH": "/bin",
    }
    assert cluster.handed_on(given, Settings, LocalSettings) == {"TRUNKLINE_HEARTBEAT_S": "1"}
