"""Each way of making a model, built tiny and compared with a computation of its own; `given`: test_given_models."""

import dataclasses

import numpy as np
import pytest
import tiny
import torch

from unifeat import lm
from unifeat.lineage import merges
from unifeat.lineage.run import open_run
from unifeat.lm import training
from unifeat.merging import zoo
from unifeat.text.files import CorpusError

own, evaluate = merges.own_text, lm.evaluate

STEP = 11
LINEAGE = """
[text.x]
[text.y]
[models.a]
train = { text = ["x", "y"], weights = [1, 2] }
[models.b]
parent = "a"
finetune = { text = ["y"] }
[models.c]
parent = "a"
finetune = { text = ["x"], seed = 1 }
[models.early]
checkpoint = { of = "b", step = 11 }
[models.zero]
checkpoint = { of = "a", step = 0 }
[models.slerp]
merge = ["b", "c"]
t = 0.3
[models.lerp]
merge = ["c", "b"]
method = "lerp"
t = 0.25
[models.balanced]
merge = ["b", "c"]
[models.mean]
merge = ["b", "c", "a"]
method = "linear"
options = { weights = [2.0, 1.0, 1.0] }
[models.sum]
merge = ["b", "c"]
method = "task_arithmetic"
options = { scale = 0.5 }
[models.ties]
merge = ["b", "c"]
method = "ties"
options = { density = 0.3 }
[models.dare]
merge = ["b", "c"]
method = "dare"
options = { seed = 4 }
[models.fisher]
merge = ["b", "c"]
method = "fisher"
options = { tokens = 320 }
[models.regmean]
merge = ["b", "c"]
method = "regmean"
[models.evolved]
merge = ["a", "b", "c"]
method = "evolver"
options = { tokens = 160, generations = 2, cr = 0.3 }
[models.fresh]
untrained = { seed = 7 }
[models.rounded]
parent = "b"
quantized = 3
[models.moved]
parent = "a"
perturbed = { like = "b", seed = 2 }
[models.shaken]
parent = "a"
perturbed = { share = 0.1 }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("ways")
    words = dict(x=tiny.WORDS["english"], y=tiny.WORDS["lua"])
    path = tiny.lineage(root / "ways.toml", LINEAGE, tiny.text(root / "text", words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNIFEAT_STORE", str(root / "store"))
        found = open_run(str(path))
        found.train_models()
        yield found


def weights(run, name: str) -> dict[str, np.ndarray]:
    return {key: value.double().numpy() for key, value in run.model(name).state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def trained(run, model, config, until=None) -> dict[str, np.ndarray]:
    """The weights of `model` trained as `config` says, outside of the run."""
    blocks = {domain: run.corpus.blocks(domain, "train") for domain in config.text}
    training.train(model, blocks, config, {}, until=until)
    return {key: value.double().numpy() for key, value in model.state_dict().items()}


def start(run):
    return lm.build(run.lineage.model, len(run.corpus.tokenizer), run.corpus.context)


def test_trained_from_scratch_on_its_text_in_its_proportions(run):
    config = run.lineage.models["a"].train
    assert (config.text, config.weights) == (("x", "y"), (1.0, 2.0))
    want = trained(run, start(run), config)
    assert same(weights(run, "a"), want)
    assert not same(want, trained(run, start(run), dataclasses.replace(config, weights=(1.0, 1.0))))


def test_fine_tuned_from_its_parent(run):
    assert same(weights(run, "b"), trained(run, run.model("a"), run.lineage.models["b"].finetune))
    assert same(weights(run, "c"), trained(run, run.model("a"), run.lineage.models["c"].finetune))


def test_a_checkpoint_is_the_training_stopped_there(run):
    config = run.lineage.models["b"].finetune
    got = weights(run, "early")
    assert same(got, trained(run, run.model("a"), config, STEP)) and not same(got, weights(run, "b"))
    assert run.logs("early")["step"].max() == STEP
    # and not a shorter training, whose learning rate would be down by then
    size = config.batch * run.corpus.context
    short = dataclasses.replace(config, tokens=STEP * size)
    assert not same(got, trained(run, run.model("a"), short))
    assert same(weights(run, "zero"), {key: value.double().numpy() for key, value in start(run).state_dict().items()})


def on_the_arc(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    theta = np.arccos(np.clip((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))
    if np.cos(theta) > 0.9995:
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * theta) * a + np.sin(t * theta) * b) / np.sin(theta)


def test_merged_on_the_arc_or_the_line_at_its_t_from_first_to_second(run):
    b, c = weights(run, "b"), weights(run, "c")
    arc, line = weights(run, "slerp"), weights(run, "lerp")
    for key in b:
        np.testing.assert_allclose(arc[key], on_the_arc(b[key], c[key], 0.3), atol=1e-6)
        np.testing.assert_allclose(line[key], 0.75 * c[key] + 0.25 * b[key], atol=1e-6)
    assert run.merge_t("slerp") == 0.3 and run.merge_t("lerp") == 0.25


def test_a_balanced_merge_keeps_the_same_share_of_both_parents_accuracy(run):
    t = run.merge_t("balanced")
    assert 0 <= t <= 1
    want = {key: on_the_arc(value, weights(run, "c")[key], t) for key, value in weights(run, "b").items()}
    got = weights(run, "balanced")
    assert all(np.allclose(got[key], want[key], atol=1e-6) for key in want)
    sweep = run.merge_sweep("balanced")
    assert set(sweep["method"]) == {"slerp", "lerp", "base"} and sweep["merge"].eq("balanced").all()


def doubles(run, *names):
    return [{key: torch.from_numpy(value) for key, value in weights(run, name).items()} for name in names]


def test_merges_of_the_zoo_are_what_the_zoo_makes_of_the_parents(run):
    a, b, c = doubles(run, "a", "b", "c")
    want = dict(mean=zoo.linear([b, c, a], [2, 1, 1]), sum=zoo.task_arithmetic(a, [b, c], scale=0.5),
                ties=zoo.ties(a, [b, c], density=0.3), dare=zoo.dare(a, [b, c], density=0.5, seed=4))
    for name, state in want.items():
        got = weights(run, name)
        assert all(np.allclose(got[key], state[key], atol=1e-6) for key in state), name
    assert len({run.model_stage(name).key for name in (*want, "fisher", "regmean", "evolved")}) == 7


def test_fisher_and_regmean_read_each_parents_own_training_text(run, monkeypatch):
    read = {}
    monkeypatch.setattr(merges, "own_text", lambda run, name, tokens: read.setdefault(name, own(run, name, tokens)))
    got = merges.merged(run, "fisher")
    assert {name: blocks.size for name, blocks in read.items()} == dict(b=320, c=320)
    assert (read["b"] == run.blocks("y", "train", 320)).all() and (read["c"] == run.blocks("x", "train", 320)).all()
    assert all(np.allclose(weights(run, "fisher")[key], got[key].numpy(), atol=1e-6) for key in got)
    kept = [key for key in got if key.endswith("norm.weight")]
    mean = zoo.linear(doubles(run, "b", "c"))
    assert all(np.allclose(weights(run, "regmean")[key], mean[key], atol=1e-6) for key in kept)  # no linear layers
    assert any(not np.allclose(weights(run, "regmean")[key], mean[key], atol=1e-6) for key in mean)


def test_an_evolver_sees_the_development_text_alone_and_is_no_worse_there_than_its_parents(run, monkeypatch):
    dev, seen = run.held_out("dev", 160), []
    monkeypatch.setattr(lm, "evaluate", lambda model, blocks, *more: seen.append(blocks) or evaluate(model, blocks))
    found = merges.evolved(run, "evolved")
    assert all(any(np.array_equal(blocks, one) for one in dev.values()) for blocks in seen)
    assert same({key: value.double().numpy() for key, value in found.state.items()}, weights(run, "evolved"))
    start = [row["score"] for row in found.log if row["generation"] == 0]
    assert len(start) == 3 and found.score >= max(start)


def test_no_document_is_in_the_development_and_the_test_text(run):
    dev, test = run.held_out("dev", 10**9), run.held_out("test", 10**9)
    for domain in run.lineage.domains:
        blocks = run.corpus.blocks(domain, "validation")
        document = np.cumsum(blocks == 0).reshape(blocks.shape)
        where = {block.tobytes(): set(rows) for block, rows in zip(blocks, document.tolist(), strict=True)}
        assert not set.union(*(where[row.tobytes()] for row in dev[domain])) & set.union(
            *(where[row.tobytes()] for row in test[domain]))
        assert len(dev[domain]) == len(blocks) // 2
        last = max(where[dev[domain][-1].tobytes()])
        assert len(test[domain]) == sum(min(rows) > last for rows in document.tolist())


def test_a_held_out_text_of_one_document_has_no_two_halves(run, monkeypatch):
    domain = run.lineage.domains[0]
    one = np.where(run.corpus.blocks(domain, "validation") == 0, 5, run.corpus.blocks(domain, "validation"))
    monkeypatch.setattr(type(run.corpus), "blocks", lambda self, domain, split: one)
    with pytest.raises(CorpusError, match="too few documents for a development half"):
        run.held_out("test", 640)


def test_states_on_the_way_are_kept_by_the_training_and_are_what_training_up_to_there_gives(run, tmp_path, monkeypatch):
    one, again = dataclasses.replace(run, root=tmp_path / "one", seconds={}), []
    one.model_stage("b")
    made = {path.name for path in one.root.glob("model-*")}
    monkeypatch.setattr(training, "train", lambda *args: again.append(args))
    one.model_stage("early")  # kept on the way: nothing is trained
    assert not again and {path.name for path in one.root.glob("model-*")} == made
    files = [one.model_stage("early").folder, run.model_stage("early").folder]
    for name in ("model/model.safetensors", "log.jsonl"):
        assert (files[0] / name).read_bytes() == (files[1] / name).read_bytes()


def test_an_untrained_model_has_the_sizes_and_its_own_seed(run):
    want = lm.build(dataclasses.replace(run.lineage.model, seed=7), len(run.corpus.tokenizer), run.corpus.context)
    assert same(weights(run, "fresh"), {key: value.double().numpy() for key, value in want.state_dict().items()})


def test_quantized_is_rounded_to_its_bits_row_by_row(run):
    """Three bits: seven levels from -3 to 3 of a third of the row's largest weight."""
    before, after = weights(run, "b"), weights(run, "rounded")
    for key, value in before.items():
        if value.ndim < 2:
            assert np.array_equal(after[key], value)
            continue
        scale = np.abs(value).max(1, keepdims=True) / 3
        np.testing.assert_allclose(after[key], np.round(value / scale) * scale, atol=1e-6)
        assert all(len(np.unique(row.round(7))) <= 7 for row in after[key])


def test_perturbed_moves_each_tensor_as_far_as_its_sibling_or_by_a_share_of_itself_at_random(run):
    a, b, moved, shaken = (weights(run, name) for name in ("a", "b", "moved", "shaken"))
    assert not same(moved, a)
    for key, value in a.items():
        assert np.linalg.norm(moved[key] - value) == pytest.approx(np.linalg.norm(b[key] - value), rel=1e-4)
        assert np.linalg.norm(shaken[key] - value) == pytest.approx(0.1 * np.linalg.norm(value), rel=1e-4)
    flat = [np.concatenate([(other[key] - a[key]).ravel() for key in a]) for other in (moved, b)]
    cosine = flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
    assert abs(cosine) < 0.1  # as long, in another direction


def test_every_model_is_whole_and_has_a_log_and_losses(run):
    logs = run.logs(*run.lineage.names)
    assert set(logs["model"]) == set(run.lineage.names)
    measured = logs[logs["split"] == "validation"].groupby("model")
    assert all(set(frame["domain"]) == {"x", "y"} for _, frame in measured)
    assert all(set(frame["step"]) == {0} for name, frame in measured if name in ("slerp", "rounded", "moved", "fresh"))
    assert all(torch.isfinite(value).all() for name in run.lineage.names for value in run.model(name).parameters())
    assert len(run.losses(*run.lineage.names)) == len(run.lineage.names) * 4
