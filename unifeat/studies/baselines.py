"""The lower rungs of the ladder: what features match when there is little or nothing to share.

`rotated`: the child's SAE reads its activations in randomly rotated axes. `neurons`: MLP neurons in place of
features. `random`: an SAE on a language model that was never trained. `permuted`: all tokens permuted. Each returns the
arrays of `comparison.compare`, kept in the store.
"""

import dataclasses

import numpy as np
import torch
from scipy import sparse

from unifeat import matching, sae
from unifeat.lineage.run import Run
from unifeat.matching import comparison
from unifeat.sae import features
from unifeat.sae import training as sae_training

NEURON_TOKENS = 20_000  # neurons fire on every token, so fewer tokens give as sure an r


def rotation(d: int, seed: int) -> torch.Tensor:
    """A random rotation (d, d), uniform over the orthogonal group (QR with the signs of R's diagonal; Mezzadri 2007,
    arXiv math-ph/0609050).

    >>> q = rotation(3, 0)
    >>> torch.allclose(q @ q.T, torch.eye(3), atol=1e-6)
    True
    """
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    return torch.from_numpy(q * np.sign(np.diag(r))).float()


def rotate(x: torch.Tensor, seed: int) -> torch.Tensor:
    """Activations x (tokens, d) turned about their mean: all variances and angles between tokens are kept."""
    x, turn = x.float(), rotation(x.shape[1], seed).to(x.device)
    mean = x.mean(0)
    return torch.addmm(mean - mean @ turn, x, turn)


def rotated(run: Run, parent: tuple[str, int], child: tuple[str, int]) -> dict:
    """`parent`'s features against `child`'s SAE on rotated activations of the child's model.

    After the baseline of Gurnee et al. 2024 (arXiv 2401.12181), who rotate the second model's layer. What still
    matches does so because both read the same text through directions of the same space, not because the SAE found
    its own features: a harder null than permuted tokens. We rotate what the SAE reads, not what it writes, so that
    its latents stay sparse.
    """
    def build():
        one = run.sae(*child)
        x = rotate(_activations(run, run.model(child[0])), run.lineage.comparison.seed)
        return run.features(*parent)[:, run.live(*parent)], _live(run, features.encode(one, x))

    inputs = [run.feature_stage(name) for name in dict.fromkeys((parent[0], child[0]))]
    return kept(run, f"rotated-{parent[0]}{parent[1]}-{child[0]}{child[1]}", build, inputs)


def neurons(run: Run, parent: str, child: str, other: Run | None = None) -> dict:
    """MLP neurons of `parent` against those of `child` (a model of the run `other`, if given), on at most NEURON_TOKENS
    tokens of the comparison text.
    """
    sides = ((run, parent), (other or run, child))
    rows = slice(None, None, max(1, len(run.comparison_text["block"]) // NEURON_TOKENS))

    def build():
        return [_activations(run, one.model(name))[rows].float().cpu().numpy() for one, name in sides]

    return kept(run, f"neurons-{parent}-{child}", build, [one.model_stage(name) for one, name in sides], rows)


def random_saes(run: Run, bar=None):
    """The result that holds the SAE (the first seed) of an untrained model, on what the first root's read; `bar` as in
    `Run.sae_stage`."""
    p = run.lineage
    config = dataclasses.replace(p.sae, seeds=p.sae.seeds[:1])
    domains, weights = run.lineage.sae_text(run.lineage.roots[0])

    def build(folder):
        model = run.untrained()
        blocks = [run.corpus.blocks(d, "train") for d in domains]
        (one,), _ = sae_training.train(model, blocks, weights, config, "an untrained model", folder, bar)
        sae.save(one, folder / "sae")
        x = _activations(run, model)
        sparse.save_npz(folder / "features.npz", features.encode(one, x), compressed=False)

    inputs = [run.corpus_stage, *map(run.model_stage, list(run.given)[:1])]  # for its architecture
    return run.stage("saes-random", build, [config, p.model, domains, weights, p.comparison.tokens], inputs, bar=bar,
                     tokens=config.tokens)


def random(run: Run, child: tuple[str, int]) -> dict:
    """Features of an untrained model against those of `child`: what the text alone makes any SAE find."""
    artefact = random_saes(run)

    def build():
        return (_live(run, sparse.load_npz(artefact.folder / "features.npz")),
                run.features(*child)[:, run.live(*child)])

    return kept(run, f"random-{child[0]}{child[1]}", build, [run.look_stage(child[0]), artefact],
                subsets=lambda: ({}, run.subsets(*child)))


def permuted(run: Run, parent: tuple[str, int], child: tuple[str, int]) -> dict:
    """Features of `parent` against those of `child` with all tokens permuted: what matches by chance."""
    def build():
        left, right = (run.features(*which)[:, run.live(*which)] for which in (parent, child))
        return left, matching.permute(right, run.lineage.comparison.seed)

    inputs = [run.feature_stage(name) for name in dict.fromkeys((parent[0], child[0]))]
    return kept(run, f"permuted-{parent[0]}{parent[1]}-{child[0]}{child[1]}", build, inputs)


def _activations(run: Run, model) -> torch.Tensor:
    return features.text_activations(model, run.comparison_text["blocks"], run.lineage.sae.hook)


def _live(run: Run, f: sparse.csr_matrix) -> sparse.csr_matrix:
    return f[:, features.fires(f) >= run.lineage.comparison.min_fires]


def kept(run: Run, stage: str, sides, inputs: list, rows=slice(None), with_null: bool = False,
         subsets=lambda: ({}, {})) -> dict:
    """`comparison.compare` of two sides on `rows` of the comparison text, computed once and kept under `stage`.

    sides(): both activation matrices (rows, features); inputs: the results that they are made from; subsets(): masks of
    both sides' features by name.
    """
    p = run.lineage.comparison

    def build(folder):
        text = {name: run.comparison_text[name][rows] for name in ("document", "domain", "token")}
        np.savez(folder / "match.npz", **comparison.compare(*sides(), text, p.bootstrap, p.seed, with_null, subsets()))

    made = run.stage(stage, build, [p, run.lineage.sae.hook], inputs, code_of=(sides,))
    with np.load(made.folder / "match.npz", allow_pickle=False) as file:
        return dict(file)
