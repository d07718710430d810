import planted_runs
import pytest
import tiny

from unifeat.lineage.run import open_run
from unifeat.studies import checkpoints


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """A run of the paper's lineage whose features are planted."""
    return planted_runs.planted_run(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def along(tmp_path_factory):
    """A tiny run with its root's checkpoints."""
    root = tmp_path_factory.mktemp("along")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIFEAT_STORE", str(root / "store"))
        return checkpoints.along(open_run(str(tiny.lineage(root / "tiny.toml", folder=tiny.text(root / "text")))))
