"""A sparse autoencoder of activations: its kinds, equations and files."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from unifeat import lm
from unifeat.sae.topk import topk
from unifeat.support.errors import UnifeatError

TENSORS = ("w_enc", "b_enc", "w_dec", "b_dec")
SCALARS = ("kind", "k", "scale", "threshold", "lm_hash", "seed", "dead_share", "hook")
KINDS = ("relu", "topk", "batchtopk")  # that are trained here; others' jumprelu is read too
ROWS = 2048  # activations handled at once: their latents stay inside a core's caches


class SaeError(UnifeatError):
    """An SAE folder that cannot be read, or an SAE used with a model it was not trained on."""


@dataclass
class Sae:
    """A sparse autoencoder of activations x (d,), with `width` latents f.

        z = W_enc (s x - b_dec) + b_enc,   f = act(z),   x_hat = (W_dec^T f + b_dec) / s

    act keeps positive z (`relu`), the k largest of a token (`topk`), or those above a threshold that lets k
    through on average (`batchtopk`; in training the B k largest of a batch of B tokens, Bussmann et al. 2024,
    arXiv 2412.06410), or above one threshold per latent (`jumprelu`, Rajamanoharan et al. 2024, arXiv 2407.14435;
    read, not trained). k is 0 where others' SAEs have none. s is one number per model, so that E||s x||^2 = d. Rows of
    W_dec have unit norm.

    Shapes: w_enc and w_dec (width, d), b_enc (width,), b_dec (d,).
    """

    kind: str
    k: int
    w_enc: torch.Tensor
    b_enc: torch.Tensor
    w_dec: torch.Tensor
    b_dec: torch.Tensor
    scale: float
    threshold: float | torch.Tensor = 0.0  # batchtopk: least activation let through; jumprelu: (width,)
    lm_hash: str = ""  # weights of the language model it was trained on
    seed: int = 0
    dead_share: float = math.nan  # latents that did not fire in the last `dead_after` tokens of training
    hook: str = lm.HOOK  # the hook point whose activations it reads

    @property
    def width(self) -> int:
        return len(self.b_enc)

    def to(self, device: torch.device) -> "Sae":
        """The same SAE on `device`, where the activations that it is to read are."""
        return replace(self, **{name: value.to(device) for name, value in self.tensors().items()})

    @torch.inference_mode()
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Activations (tokens, d) -> latents (tokens, width), float32."""
        parts = [self.latents(x[i:i + ROWS]) for i in range(0, len(x), ROWS)]
        return torch.cat(parts).float() if parts else x.new_zeros(0, self.width, dtype=torch.float32)

    @torch.inference_mode()
    def decode(self, f: torch.Tensor) -> torch.Tensor:
        """Latents (tokens, width) -> reconstructed activations (tokens, d)."""
        return (f.to(self.w_dec.dtype) @ self.w_dec + self.b_dec) / self.scale

    def latents(self, x: torch.Tensor) -> torch.Tensor:
        """Latents of at most a few thousand activations, in the dtype of computation."""
        return act(self.pre_activations(x), self.kind, self.k, self.threshold)

    def pre_activations(self, x: torch.Tensor) -> torch.Tensor:
        """Pre-activations z (tokens, width) of at most a few thousand activations, in the dtype of computation."""
        dtype = lm.compute_dtype()
        centred = (x.float() * self.scale - self.b_dec).to(dtype)
        return torch.addmm(self.b_enc.to(dtype), centred, self.w_enc.to(dtype).T)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by name: the four trained ones, and the thresholds if each latent has its own."""
        own = {"threshold": self.threshold} if isinstance(self.threshold, torch.Tensor) else {}
        return {name: getattr(self, name) for name in TENSORS} | own

    def parameters(self) -> list[torch.Tensor]:
        """The four trained tensors."""
        return [self.w_enc, self.b_enc, self.w_dec, self.b_dec]


def act(z: torch.Tensor, kind: str, k: int, threshold: float | torch.Tensor) -> torch.Tensor:
    """The activation function of `kind` on pre-activations z (tokens, width).

    >>> act(torch.tensor([[3.0, -1.0, 2.0, 1.0]]), "topk", 2, 0.0).tolist()
    [[3.0, 0.0, 2.0, 0.0]]
    """
    if kind == "topk":
        values, at = topk(z, k)
        rows = torch.arange(0, z.numel(), z.shape[1], device=z.device)
        return torch.zeros_like(z).put_(at + rows[:, None], torch.relu(values))  # scatter_ would copy z first
    return torch.relu(z) if kind == "relu" else torch.relu(z).masked_fill_(z < threshold, 0)


def save(sae: Sae, folder: Path) -> None:
    """Write sae.safetensors and config.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = sae.tensors()
    save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, folder / "sae.safetensors")
    config = {name: getattr(sae, name) for name in SCALARS if name not in tensors}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def load(folder: str | Path, model=None) -> Sae:
    """The SAE in `folder`; with `model`, refused unless it was trained on exactly that model's weights.

    Raises:
        SaeError: missing or damaged files, tensors of other shapes, or an SAE of another model.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        sae = Sae(**load_file(folder / "sae.safetensors"), **config)
        _check(sae)
    except Exception as error:
        raise SaeError(f"The SAE in {folder} cannot be loaded ({error}); train or save it again.") from error
    if model is not None and lm.weights_hash(model) != sae.lm_hash:
        raise SaeError(f"The SAE in {folder} was trained on another model (weights {sae.lm_hash}, not "
                       f"{lm.weights_hash(model)}); load it without a model to use it all the same.")
    return sae


def _check(sae: Sae) -> None:
    """Refuse what would compute a wrong number or none."""
    (width, d), tensors = sae.w_enc.shape, sae.tensors()
    own, number = tensors.pop("threshold", None), (int, float)
    least = own if own is not None else torch.tensor(sae.threshold if isinstance(sae.threshold, number) else math.nan)
    for fine, problem in (
        ([tuple(t.shape) for t in tensors.values()] == [(width, d), (width,), (width, d), (d,)],
         "its tensors have shapes that do not fit together"),
        (all(t.dtype == torch.float32 for t in tensors.values()), "its tensors are not float32"),
        (all(torch.isfinite(t).all() for t in tensors.values()), "it holds values that are not finite"),
        (sae.kind in (*KINDS, "jumprelu"), f"its kind is none of {', '.join(KINDS)}, jumprelu"),
        (type(sae.k) is int and (sae.kind == "topk") <= sae.k <= width, "its k is not a number of latents"),
        (isinstance(sae.scale, number) and 0 < sae.scale < math.inf, "its scale is not a positive number"),
        (bool((least >= 0).all() and (least < math.inf).all()), "its threshold is no number from 0 on"),
        ((own is not None) == (sae.kind == "jumprelu") and (own is None or own.shape == (width,)),
         "its thresholds are not those of its kind"),
        (isinstance(sae.hook, str), "its hook point is not a name"),
    ):
        if not fine:
            raise ValueError(problem)
