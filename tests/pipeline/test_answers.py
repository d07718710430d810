"""The answers in the notebooks' first cells, from made-up tables."""

import pandas as pd

from unifeat.lineage import read
from unifeat.pipeline import answers
from unifeat.support.tables import csv


def test_the_base_is_said_to_lose_where_it_loses(tmp_path):
    rows = [dict(model=model, domain=domain, split="validation", bits_per_byte=value)
            for model, values in dict(base=(1.7, 1.2), ngram=(1.6, 1.3)).items()
            for domain, value in zip(("english", "python"), values, strict=True)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "models.csv").write_text(csv(pd.DataFrame(rows)))
    found = answers.answer("02_base_model", tmp_path, read("laptop"))
    assert found.startswith("On 1 of its 2 domains: 1.700 against 1.600 on English, 1.200 against 1.300 on Python (")
    assert "Bayes mixture of Kneser-Ney 5-grams, one per domain" in found
