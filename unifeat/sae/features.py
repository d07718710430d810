"""Features over a text: which latents fire where, as sparse matrices, and where they fire most."""

import numpy as np
import torch
from scipy import sparse

from unifeat import lm
from unifeat.sae.model import ROWS, Sae
from unifeat.sae.topk import topk


@torch.inference_mode()
def text_activations(model, blocks: np.ndarray, hook: str = lm.HOOK, batch: int = 32) -> torch.Tensor:
    """Activations (tokens, d) of `model` at `hook` on `blocks` (n, context); special tokens (id 0) are left out."""
    tokens = torch.from_numpy(np.asarray(blocks).astype(np.int64))
    model.to(lm.device())
    return torch.cat([lm.activations(model, part.to(lm.device()), hook)[part > 0] for part in tokens.split(batch)])


def encode(sae: Sae, x: torch.Tensor) -> sparse.csr_matrix:
    """Latents of the activations x (tokens, d) as CSR (tokens, width), float32, only what fires stored."""
    sae = sae.to(x.device)
    return sparse.vstack([_fired(sae, rows) for rows in x.split(ROWS)], format="csr")


def _fired(sae: Sae, x: torch.Tensor) -> sparse.csr_matrix:
    if sae.kind == "topk":  # to look for them among all latents would take longer than all the rest
        values, at = (part.cpu() for part in topk(sae.pre_activations(x), sae.k))
        starts = np.arange(0, at.numel() + 1, sae.k, dtype=np.int32)
        f = sparse.csr_matrix((torch.relu(values).float().numpy().ravel(), at.numpy().astype(np.int32).ravel(), starts),
                              shape=(len(x), sae.width))
        f.eliminate_zeros()
        f.sort_indices()
        return f
    f = sae.encode(x).cpu()
    at = f.nonzero(as_tuple=True)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(at[0], minlength=len(f)).cumsum(0)])
    return sparse.csr_matrix((f[at].numpy(), at[1].numpy().astype(np.int32), starts.numpy().astype(np.int32)),
                             shape=f.shape)


def fires(f: sparse.csr_matrix) -> np.ndarray:
    """Number of tokens on which each latent fires, (width,).

    >>> fires(sparse.csr_matrix([[0.0, 2.0], [1.0, 3.0]])).tolist()
    [1, 2]
    """
    return np.bincount(f.indices[f.data > 0], minlength=f.shape[1])


def top_tokens(f: sparse.csc_matrix, feature: int, count: int) -> np.ndarray:
    """Rows (tokens) on which `feature` is strongest, strongest first, at most `count`; ties by position.

    >>> top_tokens(sparse.csc_matrix([[1.0], [0.0], [3.0]]), 0, 5).tolist()
    [2, 0]
    """
    rows = slice(f.indptr[feature], f.indptr[feature + 1])
    order = np.lexsort((f.indices[rows], -f.data[rows]))
    return f.indices[rows][order[:count]]
