"""The merge zoo against values by hand and against other computations."""

import architectures
import numpy as np
import pytest
import torch

from unifeat import lm, merging
from unifeat.merging import estimates, zoo


def states(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"w": torch.randn(4, 5, generator=generator), "n": torch.tensor(3)} for _ in range(count)]


def test_a_uniform_soup_is_the_mean_and_two_models_are_lerp():
    a, b, c = states()
    torch.testing.assert_close(zoo.linear([a, b, c])["w"], (a["w"] + b["w"] + c["w"]) / 3)
    torch.testing.assert_close(zoo.linear([a, b], [0.7, 0.3])["w"], merging.lerp(a["w"], b["w"], 0.3))
    assert zoo.linear([a, b])["n"] == 3


def test_task_arithmetic_takes_a_change_back():
    base, a, _ = states()
    torch.testing.assert_close(zoo.task_arithmetic(base, [a, a], [1, -1])["w"], base["w"])
    torch.testing.assert_close(zoo.task_arithmetic(base, [a], scale=0.25)["w"], 0.75 * base["w"] + 0.25 * a["w"])


def test_ties_by_hand():
    """Trimmed to 2 of 4; the signs elected are +, -, + and + (of nothing); those against are left out."""
    base = {"w": torch.zeros(4)}
    a, b = {"w": torch.tensor([4.0, -3.0, 1.0, 0.5])}, {"w": torch.tensor([-2.0, 0.1, 5.0, 0.2])}
    assert zoo.ties(base, [a, b], density=0.5)["w"].tolist() == [4.0, -3.0, 5.0, 0.0]
    assert zoo.ties(base, [a, b], [1, 3], density=0.5)["w"].tolist() == [-2.0, -3.0, 5.0, 0.0]
    assert zoo.ties(base, [a, b], density=0.5, scale=2.0)["w"].tolist() == [8.0, -6.0, 10.0, 0.0]


def test_ties_entry_by_entry():
    """The same in plain loops, from the paper's algorithm."""
    base, *rest = states(4)
    found, k = zoo.ties(base, rest, density=0.3)["w"], int(0.3 * 20)
    kept = []
    for state in rest:
        delta = (state["w"] - base["w"]).double().flatten().tolist()
        least = sorted(map(abs, delta))[-k]
        kept.append([x if abs(x) >= least else 0.0 for x in delta])
    want = []
    for column in zip(*kept, strict=True):
        sign = 1 if sum(column) >= 0 else -1
        agreeing = [x for x in column if x * sign > 0]
        want.append(sum(agreeing) / max(1, len(agreeing)))
    torch.testing.assert_close(found.flatten() - base["w"].flatten(), torch.tensor(want), atol=1e-6, rtol=1e-6)


def test_dare_keeps_the_mean_and_about_its_share():
    base, child = {"w": torch.zeros(40_000)}, {"w": torch.ones(40_000)}
    found = zoo.dare(base, [child], density=0.25, seed=1)["w"]
    assert set(found.unique().tolist()) == {0.0, 4.0} and abs(found.mean() - 1) < 0.05
    assert torch.equal(found, zoo.dare(base, [child], density=0.25, seed=1)["w"])
    assert not torch.equal(found, zoo.dare(base, [child], density=0.25, seed=2)["w"])


def test_fisher_weights_every_entry_and_falls_back_on_the_mean():
    a, b, _ = states()
    own = [{"w": torch.rand(4, 5)} for _ in range(2)]
    want = (own[0]["w"] * a["w"] + own[1]["w"] * b["w"]) / (own[0]["w"] + own[1]["w"])
    torch.testing.assert_close(zoo.fisher([a, b], own)["w"], want)
    zero = [{"w": torch.zeros(4, 5)}] * 2
    for none in (zero, [{}, {}]):
        torch.testing.assert_close(zoo.fisher([a, b], none)["w"], (a["w"] + b["w"]) / 2)


def test_regmean_solves_the_least_squares_that_it_states():
    generator = torch.Generator().manual_seed(0)
    xs = [torch.randn(30, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    a, b, _ = states()
    found = zoo.regmean([a, b], [{"w": x.T @ x} for x in xs], alpha=1.0)["w"].double()
    rows = torch.cat(xs)
    targets = torch.cat([x @ state["w"].double().T for x, state in zip(xs, (a, b), strict=True)])
    torch.testing.assert_close(found, torch.linalg.lstsq(rows, targets).solution.T, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(zoo.regmean([a, b], [{}, {}])["w"], (a["w"] + b["w"]) / 2)
    dead = [{"w": torch.diag(torch.tensor([1.0, 1, 1, 1, 0]))}] * 2  # an input that never fires
    assert zoo.regmean([a, b], dead)["w"].isfinite().all()


@pytest.mark.parametrize(("call", "words"), [
    (lambda a, b: zoo.linear([a]), "needs two models or more"),
    (lambda a, b: zoo.linear([a, b], [1, -1]), "The weights add up to 0"),
    (lambda a, b: zoo.linear([a, b], [1]), "give one finite number for each"),
    (lambda a, b: zoo.linear([a, b], [1, float("nan")]), "give one finite number for each"),
    (lambda a, b: zoo.linear([a, {"v": b["w"]}]), "has the tensor"),
    (lambda a, b: zoo.ties(a, [b | dict(w=torch.zeros(4, 4))]), r"has the shapes \(4, 5\), \(4, 4\)"),
    (lambda a, b: zoo.dare(a, [b], density=0.0), "density is 0.0; choose a share above 0"),
    (lambda a, b: zoo.task_arithmetic(a, [b | dict(w=b["w"] / 0)]), "holds NaN or infinity")])
def test_what_cannot_be_merged_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call(*states(2))
    assert "\n" not in str(caught.value)


def test_tied_embeddings_are_merged_once_and_stay_tied():
    models = [architectures.small("gpt2") for _ in range(2)]
    for value in models[1].parameters():
        value.data += 0.1
    merged = zoo.linear([model.state_dict() for model in models])
    assert merged["lm_head.weight"].data_ptr() == merged["transformer.wte.weight"].data_ptr()


def test_the_fisher_information_is_the_mean_square_of_the_gradient():
    """Of the unembedding's bias-free logits: (onehot(y) - p) h for every token, summed over a block."""
    model = lm.prove(architectures.small("llama"), "m")
    blocks = np.random.default_rng(0).integers(4, 99, (3, 12))
    found = estimates.fisher(model, blocks, seed=5)
    generator, want = torch.Generator().manual_seed(5), 0.0
    with torch.no_grad():
        for block in blocks:
            tokens = torch.from_numpy(block)[None]
            h = model.base_model(input_ids=tokens).last_hidden_state[0]
            p = (h @ model.lm_head.weight.T).softmax(-1)
            drawn = torch.multinomial(p, 1, generator=generator)
            want = want + ((torch.zeros_like(p).scatter_(1, drawn, 1.0) - p).T @ h).double().square() / 3
    torch.testing.assert_close(found["lm_head.weight"], want, rtol=1e-3, atol=1e-5)
    assert set(found) == {name for name, _ in model.named_parameters()}


def test_the_gram_matrix_is_that_of_a_layers_inputs():
    model = lm.prove(architectures.small("llama"), "m")
    blocks = np.random.default_rng(0).integers(4, 99, (5, 12))
    found = estimates.grams(model, blocks, batch=2)
    x = torch.cat([lm.activations(model, torch.from_numpy(block)[None], "blocks.1.mlp.hook_post").float().flatten(0, 1)
                   for block in blocks]).double()
    want = found["model.layers.1.mlp.down_proj.weight"]
    torch.testing.assert_close(want, x.T @ x / 60, rtol=0.05, atol=0.05 * float(want.abs().max()))
    assert "lm_head.weight" not in found and len(found) == 14
