"""The comparison text: the one set of tokens on which the features of all models are compared."""

import numpy as np

from unifeat.text.bpe import EOS
from unifeat.text.corpora import Corpus
from unifeat.text.files import CorpusError


def take(corpus: Corpus, tokens_per_domain: int, split: str = "validation") -> dict[str, np.ndarray]:
    """Tokens in common: evenly spaced blocks of each domain, so that as many documents as can be take part.

    Returns blocks (n, context) int64, domain (n,) number of the domain of each block, and document (n, context), a
    number per document, unique across domains. Tokens equal to EOS are to be masked by the user.

    Raises:
        CorpusError: a domain has fewer tokens than asked for, or less than one block is asked for.
    """
    count = tokens_per_domain // corpus.context
    if count < 1:
        raise CorpusError(f"A comparison text of {tokens_per_domain} tokens is less than one block of "
                          f"{corpus.context}; raise comparison.tokens.")
    blocks, documents_, last = [], [], 0
    for domain in corpus.domains:
        have = corpus.blocks(domain, split)
        if len(have) < count:
            raise CorpusError(f"The comparison asks for {tokens_per_domain:,} tokens of {domain} {split}, which has "
                              f"{have.size:,} in whole blocks; lower comparison.tokens or raise "
                              "corpora.validation_share.")
        spaced = np.linspace(0, len(have) - 1, count).round().astype(int)
        numbers = last + np.cumsum(have.ravel() == EOS).reshape(have.shape)
        blocks.append(have[spaced].astype(np.int64))
        documents_.append(numbers[spaced])
        last = int(numbers.max()) + 1
    return dict(blocks=np.concatenate(blocks), domain=np.repeat(np.arange(len(corpus.domains)), count),
                document=np.concatenate(documents_))
