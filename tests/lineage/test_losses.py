"""The row of counting in models.csv: which text it is made of."""

import numpy as np
import pytest
import tiny

from unifeat.lineage.run import open_run
from unifeat.lm import ngram


def test_the_baseline_mixes_one_model_per_domain_of_the_roots(tmp_path, monkeypatch):
    """The roots' two domains and neither child's, on every held-out domain."""
    monkeypatch.setenv("UNIFEAT_STORE", str(tmp_path / "store"))
    run = open_run(str(tiny.lineage(tmp_path / "tiny.toml", folder=tiny.text(tmp_path / "text"))))
    found = run.losses("ngram").set_index("domain")
    counts = [ngram.KneserNey(run.corpus.tokens(domain, "train"), 2, len(run.corpus.tokenizer))
              for domain in ("english", "python")]
    assert list(found.index) == ["english", "python", "stories", "lua"]
    assert set(found["model"]) == {"ngram"} and set(found["split"]) == {"validation"} and found["accuracy"].isna().all()
    for domain, blocks in run.validation().items():
        mixed = ngram.Mixture(counts).log_probabilities(blocks)
        assert found.loc[domain, "loss_nats"] == pytest.approx(-np.mean(mixed), abs=1e-5)
