"""Writes tests/sae/others: SAEs saved by SAELens and dictionary_learning themselves, with the latents that they give.

    pip install --no-deps sae-lens==6.54.12 dictionary-learning==0.1.0 "transformer-lens<3"
    python tests/sae/make_others.py

nnsight, which SAEs do not need, is stood in for.
"""

import json
import sys
import types
from pathlib import Path

import torch

HERE, D, WIDTH, K = Path(__file__).parent / "others", 6, 14, 3


class Anything(types.ModuleType):
    """A module that has every name."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return torch.nn.Module


for missing in ("nnsight",):
    sys.modules[missing] = Anything(missing)


def randomised(sae):
    with torch.no_grad():
        for name, value in sae.named_parameters():
            value.copy_(torch.rand_like(value) if "threshold" in name else 0.7 * torch.randn_like(value))
    return sae


def saelens(x):
    from sae_lens import saes

    common = dict(d_in=D, d_sae=WIDTH, dtype="float32", device="cpu")
    made = {"standard": saes.StandardSAE(saes.StandardSAEConfig(**common)),
            "standard-plain-input": saes.StandardSAE(saes.StandardSAEConfig(**common, apply_b_dec_to_input=False)),
            "topk": saes.TopKSAE(saes.TopKSAEConfig(**common, k=K)),
            "jumprelu": saes.JumpReLUSAE(saes.JumpReLUSAEConfig(**common)),
            "gated": saes.GatedSAE(saes.GatedSAEConfig(**common))}
    for name, sae in made.items():
        folder = HERE / f"saelens-{name}"
        randomised(sae).save_model(folder)
        keep(folder, x, sae.encode(x), sae.decode(sae.encode(x)))


def dictionaries(x):
    from dictionary_learning import dictionary
    from dictionary_learning.trainers import batch_top_k, matryoshka_batch_top_k, top_k

    made = {"AutoEncoder": dictionary.AutoEncoder(D, WIDTH), "AutoEncoderNew": dictionary.AutoEncoderNew(D, WIDTH),
            "GatedAutoEncoder": dictionary.GatedAutoEncoder(D, WIDTH),
            "JumpReluAutoEncoder": dictionary.JumpReluAutoEncoder(D, WIDTH),
            "AutoEncoderTopK": top_k.AutoEncoderTopK(D, WIDTH, K),
            "BatchTopKSAE": batch_top_k.BatchTopKSAE(D, WIDTH, K),
            "MatryoshkaBatchTopKSAE": matryoshka_batch_top_k.MatryoshkaBatchTopKSAE(D, WIDTH, K, [4, 10])}
    for name, sae in made.items():
        folder = HERE / f"dictionary_learning-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        randomised(sae)
        if "BatchTopK" in name:
            sae.threshold.fill_(0.8)
        torch.save(sae.state_dict(), folder / "ae.pt")
        trainer = dict(dict_class=name, activation_dim=D, dict_size=WIDTH, k=K, seed=1, layer=2, lm_name="a/b",
                       submodule_name="resid_post_layer_2")
        (folder / "config.json").write_text(json.dumps(dict(trainer=trainer), indent=1) + "\n")
        keep(folder, x, sae.encode(x), sae.decode(sae.encode(x)))


def keep(folder, x, latents, reconstructed):
    facts = dict(x=x.tolist(), latents=latents.tolist(), reconstructed=reconstructed.tolist())
    (folder / "latents.json").write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    x = torch.randn(8, D)
    with torch.no_grad():
        saelens(x)
        dictionaries(x)
