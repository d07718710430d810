"""The neurons as a dictionary, the frontier and the sites, on a lineage that takes seconds."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from planted_runs import OWN, SHARE, SHARED, Planted, planted_run

from unifeat import sae
from unifeat.lineage import read
from unifeat.lineage.run import Run
from unifeat.sae import training
from unifeat.studies import axes, sae_recipes, sites

CONTROLS = """[text.x]
[text.y]
[models.a]
train = { text = ["x"] }
[models.b]
parent = "a"
finetune = { text = ["y"] }
[controls]
tokens = 2000
kinds = ["topk"]
expansions = [1]
lengths = [1.0]
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of two models and two SAEs each, on two domains of made-up text."""
    folder = tmp_path_factory.mktemp("small")
    text = tiny.text(folder / "text", dict(x=tiny.WORDS["english"], y=tiny.WORDS["lua"]))
    p = read(tiny.lineage(folder / "own.toml", CONTROLS, text))
    return Run(p, folder / "store", folder / "figures")


def test_a_token_keeps_the_axes_that_lie_farthest_from_the_centre():
    """s x - b = (1, -3, 0.5) - (0, 0, 1): |.| = 1, 3, 0.5; of k = 2 axes the first up and the second down are kept."""
    like = sae.Sae("topk", 1, torch.ones(1, 3), torch.zeros(1), torch.ones(1, 3), torch.tensor([0.0, 0.0, 1.0]), 0.5,
                   lm_hash="abc", hook="blocks.1.hook_mlp_out")
    one, x = axes.neurons(like, 2, seed=4), torch.tensor([[2.0, -6.0, 1.0]])
    assert one.encode(x).tolist() == [[1, 0, 0, 0, 3, 0]]
    assert one.decode(one.encode(x)).tolist() == [[2, -6, 2]]  # the third stays at the centre, 1 / 0.5
    assert (one.width, one.k, one.seed, one.lm_hash, one.hook) == (6, 2, 4, "abc", "blocks.1.hook_mlp_out")
    assert (sae.axis_cosine(one) == 1).all() and axes.neurons(like, 99).k == 6


def test_with_all_its_axes_it_loses_nothing(small):
    run = axes.of_neurons(small)
    whole = dataclasses.replace(run.saes("a")[0], k=2 * small.lineage.model.d_mlp)
    (found,) = sae.evaluate([whole], small.model("a"), small.blocks("x"))
    assert found["fvu"] < 1e-3 and found["ce_recovered_mean"] == pytest.approx(1, abs=1e-2)


def test_two_of_them_agree_on_everything_and_have_the_centre_of_training(small):
    run = axes.of_neurons(small)
    one, other = run.saes("a")
    assert torch.equal(one.w_dec, other.w_dec) and (one.seed, other.seed) == (0, 1)
    assert one.width == 2 * small.lineage.model.d_mlp and one.k == small.lineage.sae.k
    x = torch.cat([part for part in sae_stream(small)]).float() * one.scale
    assert x.square().sum(1).mean().item() == pytest.approx(x.shape[1], rel=0.05)  # E ||s x||^2 = d
    near, mean = ((x - at).norm(dim=1).mean() for at in (one.b_dec, x.mean(0)))
    assert near <= mean  # the geometric median is nearer than the mean
    assert run.sae_stage("a").key != small.sae_stage("a").key
    (twin,) = run.twins("a")
    assert (twin.table["r_assigned"] > 0.999).all() and len(twin.live_a) > 0


def sae_stream(run):
    """Activations of the text that the SAEs of `a` read."""
    domains, weights = run.lineage.sae_text("a")
    return training.stream(run.model("a"), [run.corpus.blocks(d, "train") for d in domains], weights, run.lineage.sae)


def test_the_frontier_has_the_neurons_and_the_ceilings_beyond_them(small):
    sae_recipes.train(small)
    frame = sae_recipes.frontier(small)
    ours = frame[frame["varied"] == "neurons"].iloc[0]
    assert len(frame[frame["varied"] == "neurons"]) == 1 and frame["varied"].iloc[0] == "adopted"
    assert (ours["ceiling"], ours["tokens"], ours["per_neuron"]) == (1, 0, 2)
    assert np.isnan(ours["ceiling_beyond_neuron"]) and ours["live_beyond_neuron"] == 0
    assert ours["width"] == 2 * small.lineage.model.d_mlp and ours["l0"] <= small.lineage.sae.k
    rest = frame[frame["varied"] != "neurons"]
    (twin,), tau = small.twins("a"), small.lineage.comparison.tau
    masks = [small.subsets("a", seed)["beyond_neuron"] for seed in (0, 1)]
    assert rest["live_beyond_neuron"].iloc[0] == np.mean([mask.sum() for mask in masks])
    shares = [kept[mask].mean() for kept, mask in zip(twin.kept("one_to_one", tau), masks, strict=True)]
    assert rest["ceiling_beyond_neuron"].iloc[0] == pytest.approx(np.mean(shares))
    assert (rest["live_beyond_neuron"] <= rest["live"]).all()
    assert frame["ceiling"].between(0, 1).all() and sae_recipes.answer(frame).count("by construction") == 1


def test_a_site_is_measured_at_both_hooks_with_as_many_latents(small):
    one, two = sites.runs(small)
    assert one.lineage.sae.hook == small.lineage.sae.hook and two.lineage.sae.hook == "blocks.0.hook_mlp_out"
    assert dataclasses.replace(two.lineage.sae, hook=one.lineage.sae.hook) == one.lineage.sae
    assert [run.lineage.sae.hook for run in sites.runs(two)][1] == "blocks.0.mlp.hook_post"
    frame = sites.sites(small)
    assert frame["x"].tolist() == ["inside the MLP", "inside the MLP, beyond one axis", "the MLP's output",
                                   "the MLP's output, beyond one axis"]
    assert two.saes("a")[0].w_dec.shape == (small.lineage.sae.width, small.lineage.model.d_model)
    assert frame["observed"].dropna().between(0, 1).all() and frame["share"].between(0, 1).all()
    assert sites.answer(frame).startswith("Site of the SAE: at blocks.0.mlp.hook_post two SAEs find ")


class Half(Planted):
    """Planted features of which the first half are single axes."""

    def subsets(self, name, seed):
        beyond = np.arange(len(self.live(name, seed))) >= 20
        return dict(beyond_token=beyond, beyond_neuron=beyond, beyond_both=beyond)

    def sae_table(self, *names):
        return pd.DataFrame([dict(l0=8.0, ce_recovered_mean=0.9, dead_share=0.0)])


def test_planted_sites(tmp_path, monkeypatch):
    run = planted_run(tmp_path, kind=Half)
    monkeypatch.setattr(sites, "runs", lambda run: [run])
    frame = sites.sites(run).set_index("features")
    assert frame.loc["all", "share"] == 1 and frame.loc["beyond_neuron", "share"] == 20 / (SHARED + OWN)
    assert frame.loc["all", "observed"] == pytest.approx(SHARE) == frame.loc["all", "ceiling"]
    kept = [run.compare(("base", a), ("lua", b)).kept("one_to_one", 0.8) for a, b in ((0, 1), (1, 0))]
    sides = [[np.mean(one[side][20:]) for one in kept] for side in (0, 1)]
    assert frame.loc["beyond_neuron", "observed"] == pytest.approx(np.mean(np.sqrt(np.prod(sides, axis=0))))
    assert (frame["ce_recovered_mean"] == 0.9).all()


def site(hook, excess, ceiling=0.5, share=0.25, difference=0.3):
    rows = [dict(hook=hook, features=name, share=part, ceiling=top, ceiling_low=top - 0.1, ceiling_high=top + 0.1,
                 observed=0.2, null=0.1, excess=excess, excess_low=excess - 0.1, excess_high=excess + 0.1,
                 difference=difference, difference_low=difference - 0.2, difference_high=difference + 0.2)
            for name, part, top in (("all", 1, ceiling), ("beyond_neuron", share, ceiling / 2))]
    return pd.DataFrame(rows)


def test_the_answer_on_sites_says_what_the_intervals_allow():
    text = sites.answer(pd.concat([site("x.0.p", 0.3), site("x.0.q", 0.6, 0.4, 1)]))
    assert text == (
        "Site of the SAE: at x.0.p two SAEs find 50% [40%, 60%] of the features again, and 25% [15%, 35%] of the 25% "
        "that are no single axis; at x.0.q two SAEs find 40% [30%, 50%] of the features again, and 20% [10%, 30%] of "
        "the 100% that are no single axis (only inside the MLP is an axis a neuron). Excess persistence differs: 30% "
        "[20%, 40%] at x.0.p (observed 20.0%, ceiling 50.0%, null 10.0%) and 60% [50%, 70%] at x.0.q (observed 20.0%, "
        "ceiling 40.0%, null 10.0%).")
    near = sites.answer(pd.concat([site("x.0.p", 0.3, difference=0.15), site("x.0.q", 0.45, np.nan)]))
    assert "cannot be told apart" in near and "an unknown share of the features" in near
