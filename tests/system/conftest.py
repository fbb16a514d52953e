import pytest


def pytest_collection_modifyitems(items):
    """A whole installation is started and processes are killed: these tests take seconds each."""
    for item in items:
        if "tests/system" in str(item.path):
            item.add_marker(pytest.mark.timeout(150))
