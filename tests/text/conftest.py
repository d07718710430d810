from dataclasses import replace

import pytest
from made_up import CONFIG, TEXTS, write_files

from unifeat.text import corpora


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """Corpora of 30 documents in each of four domains."""
    folder = write_files(tmp_path_factory.mktemp("files"))
    out = tmp_path_factory.mktemp("built")
    corpora.build(replace(CONFIG, folder=str(folder)), TEXTS, out, folder)
    return corpora.load(out)
