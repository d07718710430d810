import os
from unittest import mock

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as in the Makefile, before torch is there


collect_ignore_glob = ["*conftest.py"]  # not to be read for doctests: several have one name


@pytest.fixture(autouse=True)
def no_settings():
    """A test sees none of the user's UNIFEAT_ variables and leaves none behind."""
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("UNIFEAT_")]:
            del os.environ[name]
        yield


def pytest_collection_modifyitems(config, items):
    """The soak takes long: it is left out unless -m names it, whatever else -m says."""
    if "soak" not in config.option.markexpr:
        soak = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if item not in soak]
