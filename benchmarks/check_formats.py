"""Exported SAEs read by the real SAELens and dictionary_learning, and SAELens's own read by unifeat.

The two cannot live in one environment with unifeat (SAELens wants transformer-lens < 4), so the check has three
steps over one folder; from the root of the repository, with unifeat's environment active:

    python -m venv build/saelens && build/saelens/bin/pip install torch==2.13.0 sae-lens==6.54.0
    python -m venv build/dictionaries && build/dictionaries/bin/pip install torch==2.13.0 dictionary-learning==0.1.0
    python benchmarks/check_formats.py write build/formats
    build/saelens/bin/python benchmarks/check_formats.py saelens build/formats
    build/dictionaries/bin/python benchmarks/check_formats.py dictionary_learning build/formats
    python benchmarks/check_formats.py back build/formats

Where pip finds another build of torchvision (which nnsight asks for) than of torch, uninstall torchvision.

`write` exports an SAE of each kind with what it must give: latents and reconstructions by the formula of
unifeat.sae.Sae in float64, the scale divided out. The two readers compare their library's with that. `saelens` also
saves SAEs of SAELens's own training classes (relu, topk, batchtopk, and topk with decoder norms not yet folded in)
with their latents, and `back` compares those with the SAEs that unifeat reads. Each step prints JSON: versions and,
by SAE, the largest absolute differences and mean active latents; exit status 1 if a difference exceeds 1e-5.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

KINDS = ("relu", "topk", "batchtopk")
D, WIDTH, K, TOKENS, SCALE = 48, 160, 8, 500, 1.7


def formula(one, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents / scale and reconstructions of our SAE `one`, in float64, kind by kind as its docstring states them."""
    w_enc, b_enc, w_dec, b_dec = (p.double() for p in (one.w_enc, one.b_enc, one.w_dec, one.b_dec))
    z = (one.scale * x.double() - b_dec) @ w_enc.T + b_enc
    f = z.clamp_min(0)
    if one.kind == "topk":
        f = f * (z >= z.sort(dim=1, descending=True).values[:, one.k - 1:one.k])
    if one.kind == "batchtopk":
        f = f * (z >= one.threshold)
    return f / one.scale, (f @ w_dec + b_dec) / one.scale


def write(folder: Path) -> dict:
    from unifeat import sae
    from unifeat.sae import formats

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(TOKENS, D, generator=generator)
    wanted = dict(x=x)
    for kind in KINDS:
        w_dec = torch.nn.functional.normalize(torch.randn(WIDTH, D, generator=generator))
        w_enc = w_dec + 0.05 * torch.randn(WIDTH, D, generator=generator)
        b_enc, b_dec = 0.2 * torch.randn(WIDTH, generator=generator), 0.5 * torch.randn(D, generator=generator)
        one = sae.Sae(kind, K, w_enc, b_enc, w_dec, b_dec, SCALE, 2.5 if kind == "batchtopk" else 0.0)
        formats.save_saelens(one, folder / "saelens" / kind, "tiny")
        formats.save_dictionary_learning(one, folder / "dictionary_learning" / kind, "tiny")
        wanted[f"{kind}.f"], wanted[f"{kind}.x_hat"] = (value.float() for value in formula(one, x))
    save_file(wanted, folder / "wanted.safetensors")
    return dict(written={kind: _l0(wanted[f"{kind}.f"]) for kind in KINDS})


def saelens(folder: Path) -> dict:
    from sae_lens import SAE

    wanted = load_file(folder / "wanted.safetensors")
    found = {}
    for kind in KINDS:
        one = SAE.load_from_disk(folder / "saelens" / kind)
        found[kind] = _compare(one, wanted, kind) | dict(theirs=type(one).__name__)
    _train_theirs(folder, wanted["x"])
    return dict(packages={"sae-lens": version("sae-lens")}, read=found)


def _train_theirs(folder: Path, x: torch.Tensor) -> None:
    """SAEs of SAELens's own training classes, with decoders off unit norm, saved as it saves them for inference."""
    import sae_lens as s

    torch.manual_seed(1)
    sizes = dict(d_in=D, d_sae=WIDTH, dtype="float32", device="cpu")
    made = {"standard": s.StandardTrainingSAE(s.StandardTrainingSAEConfig(**sizes, apply_b_dec_to_input=False)),
            "topk": s.TopKTrainingSAE(s.TopKTrainingSAEConfig(**sizes, k=K)),
            "batchtopk": s.BatchTopKTrainingSAE(s.BatchTopKTrainingSAEConfig(**sizes, k=K))}
    for name, one in made.items():
        with torch.no_grad():
            for parameter in one.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
            if name == "batchtopk":
                one.topk_threshold.fill_(0.8)
        one.save_inference_model(folder / "theirs" / name)
        read = s.SAE.load_from_disk(folder / "theirs" / name)
        with torch.no_grad():
            f = read.encode(x)
            save_file(dict(f=f, x_hat=read.decode(f)), folder / "theirs" / name / "wanted.safetensors")
    read = s.TopKSAE(s.TopKSAEConfig(**sizes, k=K, rescale_acts_by_decoder_norm=True))  # norms not folded in
    read.save_model(folder / "theirs" / "topk-unfolded")
    with torch.no_grad():
        f = read.encode(x)
        save_file(dict(f=f, x_hat=read.decode(f)), folder / "theirs" / "topk-unfolded" / "wanted.safetensors")


def dictionary_learning(folder: Path) -> dict:
    from dictionary_learning.utils import load_dictionary

    wanted, found = load_file(folder / "wanted.safetensors"), {}
    for kind in KINDS:
        one, _ = load_dictionary(str(folder / "dictionary_learning" / kind), device="cpu")
        found[kind] = _compare(one, wanted, kind) | dict(theirs=type(one).__name__)
    return dict(packages={"dictionary-learning": version("dictionary-learning")}, read=found)


def back(folder: Path) -> dict:
    from unifeat.sae import formats

    x, found = load_file(folder / "wanted.safetensors")["x"], {}
    for path in sorted((folder / "theirs").iterdir()):
        one, wanted = formats.load_saelens(path), load_file(path / "wanted.safetensors")
        f, x_hat = formula(one, x)
        found[path.name] = dict(f=_difference(f, wanted["f"]), x_hat=_difference(x_hat, wanted["x_hat"]),
                                l0=_l0(f), ours=one.kind)
    return dict(read=found)


@torch.no_grad()
def _compare(one, wanted: dict, kind: str) -> dict:
    f = one.encode(wanted["x"])
    return dict(f=_difference(f, wanted[f"{kind}.f"]), x_hat=_difference(one.decode(f), wanted[f"{kind}.x_hat"]),
                l0=_l0(f))


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(f"{(a - b).abs().max().item():.3g}")


def _l0(f: torch.Tensor) -> float:
    return round((f > 0).float().sum(1).mean().item(), 3)


STEPS = dict(write=write, saelens=saelens, dictionary_learning=dictionary_learning, back=back)

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in STEPS:
        sys.exit(f"Give a step ({', '.join(STEPS)}) and a folder.")
    result = STEPS[sys.argv[1]](Path(sys.argv[2]))
    rows = result.get("read", {}).values()
    result |= dict(step=sys.argv[1], torch=torch.__version__, agree=all(max(r["f"], r["x_hat"]) <= 1e-5 for r in rows))
    print(json.dumps(result))
    sys.exit(not result["agree"])
