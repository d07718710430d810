import os
from unittest import mock

import pytest


@pytest.fixture(autouse=True)
def no_settings():
    """A test sees none of the user's UNIFEAT_ variables and leaves none behind."""
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("UNIFEAT_")]:
            del os.environ[name]
        yield
