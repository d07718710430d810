"""Losses of a run's models on held-out text, and those of counting."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from unifeat import lm
from unifeat.lineage.models import Models
from unifeat.lm import ngram
from unifeat.support import parallel, tables
from unifeat.text import bpe

COLUMNS = ["model", "domain", "split", "tokens", "bytes", "loss_nats", "accuracy", "bits_per_byte"]


@dataclass(frozen=True, eq=False)
class Losses(Models):
    """The stages that evaluate language models."""

    def losses(self, *names: str) -> pd.DataFrame:
        """models.csv rows for the named models; "ngram" is the baseline of counting.

        It is a Bayes mixture of one Kneser-Ney model per domain of the roots' training text; it has no accuracy (NaN).
        """
        return pd.concat(map(tables.read, parallel.spread(self._losses, names)), ignore_index=True)

    def _losses(self, name):
        p = self.lineage
        if name == "ngram":
            domains = tuple(dict.fromkeys(domain for root in p.roots for domain in p.mix(root)[0]))
            return self.stage("losses-ngram", lambda folder: self._ngram(domains, folder), [p.evaluation, domains],
                              [self.corpus_stage])
        return self.stage(f"losses-{name}", lambda folder: self._measure(name, folder), p.evaluation,
                          [self.corpus_stage, self.model_stage(name)])

    def _measure(self, name, folder):
        model, rows = self.model(name), []
        for split in ("train", "validation"):
            for domain in self.lineage.domains:
                blocks = self.blocks(domain, split, self.lineage.evaluation.tokens)
                rows.append(dict(model=name, domain=domain, split=split)
                            | lm.evaluate(model, blocks, self.corpus.token_bytes))
        tables.write(folder, rows, COLUMNS)

    def _ngram(self, domains, folder):
        order, vocab = self.lineage.evaluation.ngram, len(self.corpus.tokenizer)
        counts = [ngram.KneserNey(self.corpus.tokens(d, "train"), order, vocab) for d in domains]
        mixture = ngram.Mixture(counts, bpe.EOS)
        rows = [dict(model="ngram", domain=domain, split="validation", accuracy=np.nan)
                | ngram.evaluate(mixture, blocks, self.corpus.token_bytes)
                for domain, blocks in self.validation().items()]
        tables.write(folder, rows, COLUMNS)
