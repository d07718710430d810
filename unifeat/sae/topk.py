"""The k largest latents of each token: a fast kernel and its plain twin."""

import torch

from unifeat import lm


def topk(z: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest values of each row of z (tokens, width), and their columns, in any order.

    Where a row has fewer than k positive values, the rest of what is returned is not positive, and that is all that is
    said of it. The plain twin is `plain.topk`.

    torch.topk is slow on a CPU when rows are wide, so there are two faster ways. On a CPU with AMX, in bfloat16: pack
    value and column into one integer and let numpy's vectorised quickselect find the largest, in half the time.
    Elsewhere: cut the columns into groups and keep the k groups with the largest maxima; the k largest values must lie
    in those. Values are compared as integers, which order positive floats in the same way and are faster to compare.
    """
    width, size = z.shape[1], 1
    if z.is_cuda:
        return z.topk(k, dim=-1, sorted=False)
    if z.dtype == torch.bfloat16 and lm.tiles() and width <= 1 << 16:
        keys = z.float().view(torch.int32)  # the lower half: 0
        keys.add_(torch.arange(width, dtype=torch.int32)).numpy().partition(width - k, axis=1)
        top = keys[:, width - k:]
        return (top >> 16).to(torch.int16).view(torch.bfloat16), (top & 0xFFFF).long()
    while width % (2 * size) == 0 and 3 * size**2 * k <= width:  # the fastest sizes, as measured
        size *= 2
    groups = z.view(torch.int16 if z.itemsize == 2 else torch.int32).unflatten(1, (size, -1))
    chosen = groups.amax(1).topk(k, sorted=False).indices  # group j: columns j, j + width / size, ...
    values, at = groups.gather(2, chosen[:, None].expand(-1, size, -1)).flatten(1).topk(k, sorted=False)
    return values.view(z.dtype), at // k * groups.shape[2] + chosen.gather(1, at % k)
