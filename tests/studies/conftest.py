import planted_runs
import pytest


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """A run of the paper's lineage whose features are planted."""
    return planted_runs.planted_run(tmp_path_factory.mktemp("planted"))
