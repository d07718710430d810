"""unifeat.merging and its recipes against the real mergekit, on two tiny Mistral checkpoints made on the spot.

mergekit lives in an environment of its own; from the root of the repository:

    python -m venv build/mergekit && build/mergekit/bin/pip install mergekit==0.1.5
    PYTHONPATH=. build/mergekit/bin/python benchmarks/check_mergekit.py > benchmarks/check_mergekit.json

Prints, per method, dtype and kind of tensor, the largest difference of any weight over t = 0, 0.1 ... 1 and the
largest weight beside it; then recipes of every method with values along the layers and by filter, both sides from the
same file; then task arithmetic, TIES and DARE of three models, tensor by tensor. Exit status 1 if one
exceeds the rounding that the differences below explain.

Where unifeat differs on purpose:
- it computes in float64 and rounds once, mergekit in float32: a last place in float32, one in bfloat16;
- t = 0 and t = 1 give copies of the parents, without arithmetic;
- a tensor that is zero everywhere has no direction and is refused, where mergekit takes its angle to be 90 degrees;
  so are NaN, infinity and two dtypes, and t outside [0, 1];
- so mergekit is told to compute recipes of bfloat16 in float32. In TIES a share of weights below EQUALS still differs:
  changes of such models have many equal magnitudes, and which of them is trimmed is the sort's matter;
- DARE scales what it keeps by 1 / density, as in its paper, where mergekit's `rescale` keeps the L1 norm.
"""

import json
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import torch
import yaml
from mergekit import merge_methods as methods
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.merge_methods.base import TensorGroup
from mergekit.merge_methods.slerp import slerp as mergekit_slerp
from mergekit.options import MergeOptions
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from unifeat import merging
from unifeat.merging import streaming, zoo

KINDS = {"embed": "embeddings", "lm_head": "embeddings", "attn": "attention", "mlp": "mlp", "norm": "norms"}
ALLOWED = {torch.float32: 2**-22, torch.bfloat16: 2**-7}  # relative to the largest weight: 2 units in the last place
EQUALS = 0.002  # of all weights


def make(folder: Path, dtype: torch.dtype) -> None:
    """Two checkpoints as siblings of a fine-tune: matrices at 8 to 68 degrees, norms all but parallel."""
    config = MistralConfig(vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=3,
                           num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
    torch.manual_seed(0)
    parent = MistralForCausalLM(config).state_dict()
    for seed, name in enumerate("abc"):
        generator = torch.Generator().manual_seed(seed)
        state = {}
        for i, (key, value) in enumerate(parent.items()):
            change = 0.005 if "norm" in key else value.std() * 0.1 * (i + 1)
            state[key] = value + change * torch.randn(value.shape, generator=generator)
        model = MistralForCausalLM(config)
        model.load_state_dict(state)
        model.to(dtype).save_pretrained(folder / name)
        words = Tokenizer(models.WordLevel({str(i): i for i in range(config.vocab_size)}, "0"))
        PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder / name)


def compare(folder: Path, method: str, t: float) -> dict[str, tuple]:
    """Largest difference and largest weight per tensor of a merge of two models at t."""
    two = [dict(model=str(folder / name), parameters=dict(weight=w)) for name, w in (("a", 1 - t), ("b", t))]
    content = dict(merge_method=method, models=two)
    if method == "slerp":
        content = dict(merge_method=method, models=[dict(model=one["model"]) for one in two],
                       base_model=str(folder / "a"), parameters=dict(t=t))
    return of_recipe(folder, content)


def of_recipe(folder: Path, content: dict) -> dict[str, tuple[float, float, int, int]]:
    """Largest difference and largest weight per tensor, both sides reading the same YAML file; and how many weights
    differ by more than rounding, of how many."""
    path = folder / "merge.yml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    run_merge(MergeConfiguration.model_validate(content), str(folder / "merged"),
              MergeOptions(quiet=True, copy_tokenizer=False, write_model_card=False))
    shutil.rmtree(folder / "ours", ignore_errors=True)
    streaming.apply(path, folder / "ours")
    theirs, ours = (load_file(folder / name / "model.safetensors") for name in ("merged", "ours"))
    assert ours.keys() == theirs.keys()
    apart = {name: (value.double() - theirs[name].double()).abs() for name, value in ours.items()}
    return {name: (apart[name].max().item(), (most := value.abs().max().item()),
                   int((apart[name] > 4 * ALLOWED[value.dtype] * most).sum()), value.numel())
            for name, value in ours.items()}


def recipes(folder: Path) -> dict[str, dict]:
    """Recipes that say more than one number, of the models a, b and c."""
    a, b, c = (str(folder / name) for name in "abc")
    along, filtered = [0.1, 0.9, 0.4], [dict(filter="mlp", value=[0.2, 0.7]), dict(value=0.5)]

    def of(method, **parameters):
        own = dict(weight=along, density=0.6) if method == "ties" else dict(weight=along)
        return dict(merge_method=method, base_model=a, parameters=parameters,
                    models=[dict(model=a), dict(model=b, parameters=own), dict(model=c)])

    return {"slerp": dict(merge_method="slerp", base_model=a, models=[dict(model=a), dict(model=b)],
                          parameters=dict(t=filtered)),
            "linear": dict(merge_method="linear", models=[dict(model=a), dict(model=b), dict(model=c)],
                           parameters=dict(weight=filtered)),
            "task_arithmetic": of("task_arithmetic", weight=filtered, **{"lambda": 0.7}),
            "ties": of("ties", weight=filtered, density=along)}


def of_changes() -> list[dict]:
    """Methods on three models' changes of a base, tensor by tensor, DARE with the same random numbers on both sides."""
    generator, rows = torch.Generator().manual_seed(0), []
    base, *others = (torch.randn(64, 48, generator=generator) for _ in range(4))
    weights, numbers = [0.5, 1.0, 0.8], torch.rand(3, 64, 48, generator=generator, dtype=torch.float64)
    group, ids = TensorGroup.from_tensors([base, *others], base_index=0), (1, 2, 3)
    state, states = {"w": base}, [{"w": other} for other in others]
    for density in (0.2, 0.5, 1.0):
        common = {"lambda": 0.7, "int8_mask": False, "rescale": False, "weight": dict(zip(ids, weights, strict=True)),
                  "density": dict.fromkeys(ids, density)}
        rest = iter(numbers)
        with mock.patch("torch.bernoulli", lambda p, rest=rest: (next(rest) < p).to(p.dtype)):
            dropped = methods.get("dare_linear").merge_group(group, normalize=False, **common)
        with mock.patch("torch.rand", lambda *_, **__: numbers):
            ours = zoo.dare(state, states, weights, density, 0.7)["w"]
        pairs = {"task_arithmetic": (zoo.task_arithmetic(state, states, weights, 0.7)["w"],
                                     methods.get("task_arithmetic").merge_group(group, normalize=False, **common)),
                 "ties": (zoo.ties(state, states, weights, density, 0.7)["w"],
                          methods.get("ties").merge_group(group, normalize=True, **common)),
                 # without `rescale`, which in mergekit keeps the L1 norm and not, as in the paper, the expectation
                 "dare_linear": (ours, base + (dropped - base) / density)}
        rows += [dict(method=name, density=density, max_difference=float(f"{(a - b).abs().max().item():.3g}"),
                      largest_weight=round(a.abs().max().item(), 3)) for name, (a, b) in pairs.items()]
    return rows


def main() -> int:
    rows, ok = [], True
    for dtype, allowed in ALLOWED.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            make(folder, dtype)
            a, b = (load_file(folder / name / "model.safetensors") for name in "ab")
            degrees, straight = merging.angles(a, b), merging.straight(a, b)
            for method in ("slerp", "linear"):
                found = [compare(folder, method, i / 10) for i in range(11)]
                for kind in dict.fromkeys(KINDS.values()):
                    names = [name for name in a if next(KINDS[key] for key in KINDS if key in name) == kind]
                    difference = max(one[name][0] for one in found for name in names)
                    largest = max(one[name][1] for one in found for name in names)
                    ok &= difference <= allowed * largest
                    rows.append(dict(method=method, dtype=str(dtype).removeprefix("torch."), kind=kind,
                                     degrees=[round(f(degrees[name] for name in names), 1) for f in (min, max)],
                                     parallel=sum(name in straight for name in names), tensors=len(names),
                                     max_difference=float(f"{difference:.3g}"), largest_weight=round(largest, 3)))
            for method, content in recipes(folder).items():
                found = of_recipe(folder, content | dict(dtype="float32", out_dtype=str(dtype).removeprefix("torch.")))
                difference, largest = (max(one[at] for one in found.values()) for at in (0, 1))
                beyond = sum(one[2] for one in found.values()) / sum(one[3] for one in found.values())
                ok &= beyond <= (EQUALS if (method, dtype) == ("ties", torch.bfloat16) else 0)
                rows.append(dict(recipe=method, dtype=str(dtype).removeprefix("torch."), tensors=len(found),
                                 beyond_rounding=round(beyond, 5),
                                 max_difference=float(f"{difference:.3g}"), largest_weight=round(largest, 3)))
    zero = mergekit_slerp(torch.tensor([0.5]), torch.zeros(1, 2), torch.ones(1, 2))[0].tolist()
    try:
        merging.slerp(torch.zeros(2), torch.ones(2), 0.5)
        refused = ""
    except ValueError as error:
        refused = str(error)
    rows += (changes := of_changes())
    ok &= all(row["max_difference"] <= 4 * ALLOWED[torch.float32] * row["largest_weight"] for row in changes)
    versions = {name: version(name) for name in ("mergekit", "torch", "transformers")}
    facts = dict(versions=versions, agree=ok, zero_tensor=dict(mergekit_at_half=zero, unifeat=refused))
    print(json.dumps(facts)[:-1] + ', "rows": [\n' + ",\n".join(map(json.dumps, rows)) + "]}")
    return 0 if ok and refused else 1


if __name__ == "__main__":
    sys.exit(main())
