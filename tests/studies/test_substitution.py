"""A partner in a feature's place, against planted dictionaries and a literal replacement in a forward pass."""

import numpy as np
import pandas as pd
import patches
import pytest
import torch
from made_dictionaries import FEATURES, activations, dictionary, directions, made_run

from unifeat import lm
from unifeat.matching.comparison import Comparison
from unifeat.studies import functional, substitution

UP, DOWN = ("up", 0), ("down", 1)
R = np.linspace(0.99, 0.3, FEATURES)


def edge(folder, parent, child, r=R):
    """A run of one edge between these dictionaries, and the substitution of its pairs."""
    run = made_run(folder, {UP: parent, DOWN: child}, {(UP, DOWN): r})
    return run, substitution.substitution(run, UP, DOWN)


def test_a_partner_that_is_the_same_up_to_scale_does_the_whole_job(tmp_path):
    f, d = activations(0), directions(0)
    run, frame = edge(tmp_path, dictionary(3 * f, d, scale=2.0), dictionary(f, d))
    assert list(frame.columns) == substitution.KEPT and len(frame) == FEATURES
    np.testing.assert_allclose(frame["recovered"], 1, atol=1e-5)
    np.testing.assert_allclose(frame["alpha"], 2 / 3, atol=1e-5)
    np.testing.assert_allclose(frame["logits"], 1, atol=1e-5)
    assert frame["functional"].all() and (frame["kl_removed"] > 1e-4).all() and (frame["live"] == FEATURES).all()
    assert (frame[["recovered_next_best", "recovered_random"]].abs() < 1e-4).all(axis=None)  # orthogonal directions
    assert run.stages["substitution-up0-down1"].inputs == ["features of up", "features of down"]


@pytest.mark.parametrize("turn", [lambda d: d.roll(1, 0), lambda d: -d])
def test_a_partner_that_fires_alike_but_writes_elsewhere_or_the_opposite_does_nothing(turn, tmp_path):
    f, d = activations(0), directions(0)
    _, frame = edge(tmp_path, dictionary(f, turn(d)), dictionary(f, d))
    np.testing.assert_allclose(frame["recovered"], 0, atol=1e-4)
    assert not frame["functional"].any()


def test_a_partner_that_the_next_best_beats_is_not_functional(tmp_path):
    """It does most of the job, and another feature of the parent, which fires alike, does all of it."""
    f, d = activations(0), directions(0)
    nearly = torch.nn.functional.normalize(d + 0.1 * d.roll(1, 0), dim=1)
    _, alone = edge(tmp_path / "alone", dictionary(f, nearly), dictionary(f, d))
    _, beaten = edge(tmp_path / "beaten", dictionary(np.concatenate([f, f], 1), torch.cat([nearly, d])),
                     dictionary(f, d))
    for frame in (alone, beaten):
        assert frame["recovered"].between(0.5, 0.995).all(), frame["recovered"]
    assert alone["functional"].all()
    assert (beaten["recovered_next_best"] > 0.999).all() and not beaten["functional"].any()


def test_kl_and_loss_equal_those_of_a_forward_pass_with_the_partner_in_place(tmp_path, monkeypatch):
    """One layer, so all of a feature's tokens can be changed in one pass."""
    patches.float32(monkeypatch)
    f, g = activations(0), activations(0) * (activations(1) + 1) * (activations(2) < 4)
    child, partner = dictionary(f, directions(0), 1.5), dictionary(g, directions(0) + 0.3 * directions(3), 0.7)
    run, frame = edge(tmp_path, partner, child)
    text, j = run.comparison_text, 2
    fires = np.flatnonzero(f[:, j])
    rank = np.unique(text["document"][fires], return_inverse=True)[1]
    scale, at = fires[rank % 2 == 0], fires[rank % 2 == 1]
    own = f[:, [j]] * child[0].w_dec[j].numpy() / 1.5
    other = g[:, [j]] * partner[0].w_dec[j].numpy() / 0.7
    alpha = np.linalg.lstsq(other[scale].reshape(-1, 1), own[scale].ravel(), rcond=None)[0][0]
    tokens, where = torch.from_numpy(text["blocks"]), (text["block"][at], text["position"][at])

    def logits(change):
        moved = torch.zeros(*tokens.shape, 24)
        moved[where] = torch.from_numpy(change[at]).float()
        with lm.hooked(model, lambda x: x + moved), torch.no_grad():
            return model(input_ids=tokens).logits.double().log_softmax(-1)

    model = run.model("down")
    clean, removed, replaced = (logits(change) for change in (0 * own, -own, alpha * other - own))
    row = frame.set_index("child").loc[j]
    ends = where[1] < tokens.shape[1] - 1
    after = text["blocks"][where[0][ends], where[1][ends] + 1]
    for changed, kl, ce in ((removed, "kl_removed", "ce_removed"), (replaced, "kl_partner", "ce_partner")):
        apart = (clean - changed)[where]
        assert row[kl] == pytest.approx(float((clean[where].exp() * apart).sum(-1).mean()), rel=1e-3, abs=2e-6)
        assert row[ce] == pytest.approx(float(apart[ends].gather(1, torch.from_numpy(after)[:, None]).mean()),
                                        rel=1e-3, abs=2e-6)
    assert row["alpha"] == pytest.approx(alpha, abs=1e-5)
    assert row["recovered"] == pytest.approx(1 - row["kl_partner"] / row["kl_removed"], abs=1e-3)
    assert 0.05 < row["recovered"] < 0.99


def test_kl_by_hand():
    """A model whose logits are its stream, pushed from even odds to 1 : 3 on the first of two tokens."""
    head = torch.nn.Linear(2, 2, bias=False)
    head.weight.data = torch.eye(2)
    base, block = torch.nn.Module(), torch.nn.Module()
    block.mlp = torch.nn.Linear(2, 2)
    base.layers, base.norm = torch.nn.ModuleList([block]), torch.nn.LayerNorm(2)
    base.norm.forward = lambda x: x
    model = torch.nn.Module()
    model.base_model, model.get_output_embeddings = base, lambda: head
    written = torch.tensor([[[0.0, 0.0]] * 2, [[0.0, float(np.log(3))], [0.0, 0.0]]])
    kl, ce = substitution.effects(model, torch.zeros(2, 2), written, torch.tensor([1, -1]))
    half = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert kl.tolist() == pytest.approx([0, half / 2], abs=1e-6)
    assert ce.tolist() == pytest.approx([0, np.log(0.5 / 0.75)], abs=1e-6)


def test_scale_and_measure_never_share_a_token_and_neither_is_empty():
    documents = np.array([2, 2, 2, 5, 8, 8])
    first = substitution.halves(documents)
    assert not set(documents[first]) & set(documents[~first]) and first.tolist() == [True] * 3 + [False] + [True] * 2
    assert substitution.halves(np.full(5, 3)).tolist() == [True, True, False, False, False]


def test_the_runner_up_is_the_best_other_live_feature(tmp_path):
    f = activations(0, 4)
    near = f[:, [1]] + 0.1 * activations(5, 1)
    parent = dictionary(np.concatenate([f, near, near], 1), directions(0, 6))
    run = made_run(tmp_path, {UP: parent, DOWN: dictionary(f, directions(0, 4))}, {(UP, DOWN): R[:4]})
    one = Comparison(UP, DOWN, np.array([0, 1, 5]), np.arange(4), dict(assigned=np.array([[1, 1], [0, 0]])))
    assert substitution.runners_up(run, one)[0] == 5  # 4 is as near, and not live
    alone = Comparison(UP, DOWN, np.array([1]), np.arange(4), dict(assigned=np.array([[0, 1]])))
    assert substitution.runners_up(run, alone).tolist() == [-1]


# From drawn pairs to shares -------------------------------------------------------------------------------


def population(n=200, live=250, seed=0):
    """All pairs of a child with `live` features, and of each whether it is functional."""
    rng = np.random.default_rng(seed)
    r = rng.uniform(0.3, 1, n).round(4)
    at = np.tile(np.arange(n)[:, None], 2)
    one = Comparison(UP, DOWN, np.arange(n), np.arange(live), dict(assigned=at, r_assigned=r))
    return one, rng.random(n) < r**2


def drawn_frame(one, does, count, rng):
    sub, weights = substitution.draw(one, 0.8, count, rng)
    i = sub.table["assigned"][:, 0]
    return pd.DataFrame(dict(edge="up → down", kind="edge", seed=1, r=sub.table["r_assigned"], weight=weights,
                             live=len(one.live_b), functional=does[i], recovered_random=-1.0, recovered_next_best=0.6))


def test_with_all_pairs_drawn_the_shares_are_those_of_the_population():
    one, does = population()
    frame = drawn_frame(one, does, 500, np.random.default_rng(0))
    high = one.table["r_assigned"] >= 0.8
    found = functional.summary(frame, 0.8).set_index("verdict")
    assert list(found.reset_index()[functional.COLUMNS].columns) == functional.COLUMNS
    want = [high.sum() / 250, does.sum() / 250, (high & does).sum() / 250]
    assert found.loc[list(functional.VERDICTS), "observed"].tolist() == pytest.approx(want)
    assert (found["ci_low"] < found["observed"]).all() and (found["observed"] < found["ci_high"]).all()
    assert found["ceiling"].isna().all() and (found["pairs"] == 200).all()
    assert found.loc["function", ["null", "next_best"]].tolist() == pytest.approx([0, 200 / 250])
    assert found.loc["joint", "next_best"] == pytest.approx(want[0]) and np.isnan(found.loc["activation", "null"])


def test_half_of_the_pairs_are_drawn_of_either_stratum_or_more_where_one_is_small():
    one, does = population()
    high = int((one.table["r_assigned"] >= 0.8).sum())
    for count, above in ((40, 20), (180, max(90 if high > 90 else high, 180 - (200 - high)))):
        sub, weights = substitution.draw(one, 0.8, count, np.random.default_rng(0))
        r = sub.table["r_assigned"]
        assert len(r) == count and (r >= 0.8).sum() == above and len(np.unique(sub.table["assigned"])) == count
        assert weights[r >= 0.8].sum() == pytest.approx(high) and weights.sum() == pytest.approx(200)


def test_shares_of_draws_scatter_around_the_truth_and_intervals_cover_it():
    """Unweighted shares would not: half of the drawn pairs have r >= tau, of all pairs fewer."""
    one, does = population(n=400, live=500)
    rng, truth = np.random.default_rng(1), does.sum() / 500
    draws = [functional.summary(drawn_frame(one, does, 80, rng), 0.8, 200).set_index("verdict") for _ in range(100)]
    seen = np.array([found.loc["function", ["observed", "ci_low", "ci_high"]].tolist() for found in draws])
    assert seen[:, 0].mean() == pytest.approx(truth, abs=3 * seen[:, 0].std() / 10)
    assert ((seen[:, 1] <= truth) & (truth <= seen[:, 2])).mean() >= 0.9
    assert abs(np.mean([drawn_frame(one, does, 80, rng)["functional"].mean() for _ in range(50)])
               - does.mean()) > 0.03


def test_the_same_frame_gives_the_same_intervals():
    frame = drawn_frame(*population(), 60, np.random.default_rng(0))
    pd.testing.assert_frame_equal(functional.summary(frame, 0.8), functional.summary(frame, 0.8))


# Edges, twins, and what is missing ------------------------------------------------------------------------


def test_twins_are_measured_both_ways_from_one_stored_comparison_and_are_the_ceiling(tmp_path):
    f, d = activations(0), directions(0)
    child = ("down", 0)
    saes = {UP: dictionary(activations(3), directions(3)), DOWN: dictionary(f, d), child: dictionary(2 * f, d)}
    run = made_run(tmp_path, saes, {(UP, DOWN): R, (child, DOWN): np.full(FEATURES, 0.95)})
    frame = substitution.table(run)
    assert list(frame.columns) == substitution.COLUMNS and set(run.asked) == {(UP, DOWN), (child, DOWN)}
    assert frame.groupby(["edge", "kind", "seed"]).size().to_dict() == {
        ("up → down", "edge", 1): 8, ("down → down", "twins", 1): 8, ("down → down", "twins", 0): 8}
    twins = frame[frame["kind"] == "twins"]
    np.testing.assert_allclose(twins.loc[twins["seed"] == 1, "alpha"], 0.5, atol=1e-5)
    np.testing.assert_allclose(twins.loc[twins["seed"] == 0, "alpha"], 2, atol=1e-5)
    found = functional.summary(frame, 0.8).set_index("verdict")
    assert found["edge"].unique().tolist() == ["up → down"] and found["ceiling"].tolist() == [1, 1, 1]
    assert found.loc["activation", "observed"] == np.mean(R >= 0.8) and found.loc["function", "observed"] == 0
    assert run.stages["substitution-down1-down0"].inputs == ["features of down"]


def test_an_edge_without_pairs_has_no_row_and_nothing_breaks(tmp_path):
    none = dictionary(activations(0), directions(0))
    run = made_run(tmp_path, {UP: none, DOWN: none, ("down", 0): none},
                   {(UP, DOWN): [], (("down", 0), DOWN): []})
    frame = substitution.table(run)
    assert frame.empty and list(frame.columns) == substitution.COLUMNS
    assert functional.summary(frame, 0.8).empty
    run.lineage.edges = ()
    assert substitution.table(run).empty and substitution.calls(run) == []


def test_one_pair_alone_has_nothing_to_be_compared_with(tmp_path):
    f, d = activations(0, 1), directions(0, 1)
    _, frame = edge(tmp_path, dictionary(f, d), dictionary(f, d), r=[0.9])
    row = frame.iloc[0]
    assert row["functional"] and row["kl_random"] == row["kl_next_best"] == row["kl_removed"] and row["weight"] == 1


def test_a_feature_without_effect_is_not_functional(tmp_path):
    f, d = activations(0), directions(0).clone()
    d[3] = 0
    _, frame = edge(tmp_path, dictionary(f, d), dictionary(f, d))
    row = frame.set_index("child").loc[3]
    assert np.isnan(row["recovered"]) and not row["functional"] and frame["functional"].sum() == FEATURES - 1
