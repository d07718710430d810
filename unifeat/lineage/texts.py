"""A run's text: tokens of every domain, and the tokens on which all models are compared."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from unifeat.lineage import given_corpora, given_tokenizers
from unifeat.support import paths
from unifeat.support.stages import Stages
from unifeat.text import comparison_text, corpora, sources
from unifeat.text.bpe import EOS
from unifeat.text.files import CorpusError


@dataclass(frozen=True, eq=False)
class Texts(Stages):
    """The stages that make text."""

    given: dict = field(default_factory=dict)  # folders of the models that are not made here, by name

    @cached_property
    def corpus_stage(self):
        """The result that holds the packed tokens and their tokenizer."""
        p = self.lineage
        text = [[name, replace(one, label="", color="")] for name, one in p.text.items()]  # in their order
        config = [p.corpora, text, sources.fingerprint(p.text, p.corpora)]
        if not self.given:
            return self.stage("corpora", lambda folder: corpora.build(p.corpora, p.text, folder, paths.downloads()),
                              config)
        tokens = given_tokenizers.tokenizer(next(iter(self.given.values())), p.corpora.context)
        return self.stage("corpora", lambda folder: given_corpora.build(p.corpora, p.text, tokens, folder,
                                                                        paths.downloads()),
                          [*config, tokens.backend_tokenizer.to_str()])

    @cached_property
    def corpus(self) -> corpora.Corpus:
        """Packed tokens of all domains and their tokenizer."""
        return (given_corpora if self.given else corpora).load(self.corpus_stage.folder)

    def blocks(self, domain: str, split: str = "validation", tokens: int | None = None) -> np.ndarray:
        """Blocks (n, context) of a domain, at most `tokens`, evenly spaced over the split."""
        blocks = self.corpus.blocks(domain, split)
        n = min(len(blocks), (tokens or blocks.size) // self.corpus.context)
        return blocks[np.linspace(0, len(blocks) - 1, n).round().astype(int)]

    def validation(self, share: float = 1.0) -> dict[str, np.ndarray]:
        """Held-out blocks of each domain, a share of evaluation.tokens."""
        return {d: self.blocks(d, tokens=int(self.lineage.evaluation.tokens * share)) for d in self.lineage.domains}

    def held_out(self, part: str, tokens: int) -> dict[str, np.ndarray]:
        """Held-out blocks of each domain, at most `tokens` of it: `dev` to choose by, `test` to report.

        `dev` is the first half of the blocks, `test` those that begin after its last document; documents stand in the
        order of their hashes.
        """
        out = {}
        for domain in self.lineage.domains:
            blocks = self.corpus.blocks(domain, "validation")
            document = np.cumsum(blocks == EOS).reshape(blocks.shape)
            half = len(blocks) // 2
            mine = blocks[:half] if part == "dev" else blocks[document[:, 0] > document[:half].max(initial=-1)]
            if not len(mine):
                raise CorpusError(f"The held-out text of {domain} has too few documents for a development half and a "
                                  "test half; raise corpora.validation_share or give more text.")
            count = min(len(mine), tokens // self.corpus.context)
            out[domain] = mine[np.linspace(0, len(mine) - 1, count).round().astype(int)]
        return out

    @cached_property
    def comparison_text(self) -> dict[str, np.ndarray]:
        """The text of all comparisons: blocks (n, context), and per kept token its block, position, document, domain
        and token id."""
        found = comparison_text.take(self.corpus, self.lineage.comparison.tokens)
        block, position = np.nonzero(found["blocks"])  # the special token, 0, is left out
        return dict(blocks=found["blocks"], block=block, position=position, token=found["blocks"][block, position],
                    document=found["document"][block, position], domain=found["domain"][block])
