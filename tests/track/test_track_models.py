"""Two models compared, on truth that was planted: the same model, the same in other words, another one."""

import json

import networks
import pytest
import torch

from unifeat import __main__ as cli
from unifeat import lm
from unifeat.track import runs


@pytest.fixture
def track(models, text, store, tmp_path, capsys):
    """Function from names of models to (exit status, card, what was printed)."""
    def run(a, b, *options):
        to = tmp_path / f"{a}-{b}"
        status = cli.main(["track", str(models[a]), str(models[b]), "--text", str(text), "--quick", "--to", str(to),
                           *options])
        path = to / "card.json"
        return status, json.loads(path.read_text()) if path.is_file() else None, capsys.readouterr()
    return run


def test_a_model_and_its_copy_agree_as_two_saes_of_one_model_do(track):
    status, card, out = track("base", "copy")
    assert status == 0 and card["schema"] == "unifeat.track/2" and card["kind"] == "model"
    for side in card["sides"].values():
        assert side["share"] == pytest.approx(side["ceiling"], abs=0.01)
        assert side["ci"][0] <= side["share"] <= side["ci"][1]
        assert side["excess"] == pytest.approx(1, abs=0.05) or side["ceiling"] == max(side["nulls"].values())
        assert set(side["nulls"]) == {"within_token", "rotated", "untrained"} and side["nulls"]["within_token"] < 0.1
    assert card["sides"]["both"]["share"]**2 == pytest.approx(
        card["sides"]["persist"]["share"] * card["sides"]["survive"]["share"])
    first, *rest = out.out.splitlines()
    assert first.startswith(("About", "A few seconds")) and "blocks.1.mlp.hook_post" in first and len(rest) == 4
    assert len(card["run"]["saes"]) == 4 and len({one["lm_hash"] for one in card["run"]["saes"]}) == 1


def at(card: dict, tau: float) -> dict[str, float]:
    """Share, ceiling and nulls of B's features at a threshold; SAEs as small as these seldom agree at 0.8."""
    number = min(range(len(card["curve"]["tau"])), key=lambda i: abs(card["curve"]["tau"][i] - tau))
    return {name: values[number] for name, values in card["curve"]["persist"].items()}


def test_neurons_in_another_order_are_the_same_features_and_another_model_has_fewer(track):
    same, other = (at(track("base", name)[1], 0.4) for name in ("permuted", "other"))
    assert same["share"] > 0.8 * same["ceiling"] > 0.2
    assert other["share"] < 0.4 * same["share"]
    assert other["share"] == pytest.approx(other["untrained"], abs=0.1)  # one that was never trained does as well


def test_a_repeated_track_computes_nothing_and_writes_the_same_bytes(track, store, tmp_path, monkeypatch):
    track("base", "copy")
    files = {name: (tmp_path / "base-copy" / name).read_bytes() for name in ("index.html", "card.json")}
    made = sorted(store.iterdir())
    monkeypatch.setattr(runs.TrackRun, "compute", lambda *_: pytest.fail("computed again"))
    status, _, out = track("base", "copy")
    assert status == 0 and out.out.startswith("A few seconds") and sorted(store.iterdir()) == made
    assert files == {name: (tmp_path / "base-copy" / name).read_bytes() for name in files}


def test_what_is_known_of_a_model_serves_its_next_track(track, store):
    track("base", "other")
    before = {path.name for path in store.glob("saes-*")}
    track("other", "permuted")
    new = {path.name for path in store.glob("saes-*")} - before
    assert not any(name.startswith(("saes-base", "saes-other")) for name in new)


def test_as_many_activations_as_are_asked_for(track):
    _, card, _ = track("base", "copy", "--activations", "6_400")
    assert {one["tokens"] for one in card["run"]["saes"]} == {6400} and card["asked"]["activations"] == 6400


def test_exit_status_three_below_the_share_that_is_asked_for(track):
    assert track("base", "copy", "--fail-under", "0")[0] == 0
    status, card, _ = track("base", "other", "--fail-under", "0.99")
    assert status == 3 and card["sides"]["persist"]["share"] < 0.99


def test_a_killed_track_goes_on(models, text, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNIFEAT_STORE", str(tmp_path / "store"))
    to = tmp_path / "to"
    command = ["track", str(models["base"]), str(models["copy"]), "--text", str(text), "--quick", "--to", str(to)]
    compute, seen = runs.TrackRun.compute, []

    def stop(self, name, build, folder):
        if name.startswith("match"):
            raise KeyboardInterrupt
        compute(self, name, build, folder)

    def watch(self, name, build, folder):
        seen.append(name)
        compute(self, name, build, folder)

    monkeypatch.setattr(runs.TrackRun, "compute", stop)
    assert cli.main(command) == 130 and "continues where it stopped" in capsys.readouterr().err
    assert not to.exists()
    monkeypatch.setattr(runs.TrackRun, "compute", watch)
    assert cli.main(command) == 0
    assert seen and not any(name.startswith(("saes", "corpora", "model")) for name in seen)


@pytest.mark.parametrize("hook", ["blocks.0.mlp.hook_post", "blocks.0.hook_mlp_out", "blocks.0.hook_resid_post",
                                  "blocks.1.mlp.hook_post"])
@pytest.mark.parametrize("kind", networks.CONFIGS)
def test_a_model_that_stops_behind_the_hook_gives_the_same_activations(kind, hook):
    config, tokens = networks.CONFIGS[kind], torch.arange(1, 41).reshape(2, 20)
    model = networks.network(config).eval()
    whole, marks = lm.activations(model, tokens, hook), lm.weights_hash(model)
    stopped = runs.stopping(model, hook)
    assert torch.equal(lm.activations(stopped, tokens, hook), whole) and lm.weights_hash(stopped) == marks
    assert torch.equal(lm.activations(stopped, tokens, hook), whole)


def test_it_stops_indeed():
    model, seen, hook = networks.network(networks.CONFIGS["gpt2"]).eval(), [], "blocks.0.mlp.hook_post"
    model.transformer.h[1].register_forward_hook(lambda *_: seen.append(1))
    lm.activations(runs.stopping(model, hook), torch.ones(1, 4, dtype=torch.long), hook)
    assert not seen
