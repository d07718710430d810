import networks
import pytest
import tiny


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A folder of the four domains' text."""
    return tiny.text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """The authors' checkpoints in a folder, under their hub names."""
    return networks.released(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def small(monkeypatch, tmp_path, text):
    """Function from TOML of models to a lineage's file whose whole pipeline takes seconds; with a store of its own."""
    monkeypatch.setenv("UNIFEAT_STORE", str(tmp_path / "store"))
    return lambda more="": str(tiny.lineage(tmp_path / "small.toml", more, text))
