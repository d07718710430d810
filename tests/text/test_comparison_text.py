"""The text on which features are compared: balanced over the domains, its documents numbered."""

import numpy as np
import pytest
from made_up import TEXTS

from unifeat.text import bpe, comparison_text
from unifeat.text.files import CorpusError


def test_it_is_balanced_and_numbers_documents(built):
    found = comparison_text.take(built, 64)
    assert found["blocks"].shape == found["document"].shape == (16, 16) and found["blocks"].dtype == np.int64
    assert np.bincount(found["domain"]).tolist() == [4, 4, 4, 4]
    flat = found["document"].ravel()
    assert (np.diff(flat) >= 0).all()
    for number, domain in enumerate(TEXTS):  # each kept token's document is the one that its stream says
        stream, mine = built.blocks(domain, "validation"), found["document"][found["domain"] == number]
        spaced = np.linspace(0, len(stream) - 1, 4).round().astype(int)
        opened = np.cumsum(stream.ravel() == bpe.EOS).reshape(stream.shape)[spaced]
        assert (mine - opened == mine[0, 0] - opened[0, 0]).all()
        assert (found["blocks"][found["domain"] == number] == stream[spaced]).all()


def test_no_document_is_shared_by_two_domains(built):
    found = comparison_text.take(built, 64)
    numbers = [set(found["document"][found["domain"] == domain].ravel()) for domain in range(4)]
    assert len(set.union(*numbers)) == sum(map(len, numbers))


def test_more_than_there_is_and_less_than_a_block_are_refused(built):
    with pytest.raises(CorpusError, match=r"english validation, which has [\d,]+ in whole blocks; lower comp"):
        comparison_text.take(built, 10**7)
    with pytest.raises(CorpusError, match="less than one block of 16; raise comparison.tokens"):
        comparison_text.take(built, 3)
