"""Given models: the whole pipeline on the released checkpoints, and on models of four architectures."""

import networks
import numpy as np
import pytest
import tiny
import torch

from unifeat import lm, merging
from unifeat.lineage import given, given_tokenizers, read
from unifeat.lineage.run import open_run
from unifeat.pipeline import provenance
from unifeat.studies import baselines, feature_flow, ladder, persistence, sae_transfer, weight_matching
from unifeat.support import paths
from unifeat.text import bpe


def test_released_checkpoints_run_from_local_copies(released, small):
    run = open_run(small(networks.local(released)))
    assert run.figures == paths.ROOT / "figures" / "small" and not run.claims
    assert run.lineage.model.d_mlp == 64 and run.corpus.context == 32 and len(run.corpus.tokenizer) == 300
    assert run.merge_t("merged") == pytest.approx(0.58, abs=0.002) and run.merges == ("merged",)
    assert run.model("merged").dtype == torch.float32
    run.train_models()  # there is nothing to train
    persistence.prepare(run)
    weight_matching.prepare(run)
    made = sorted(run.root.iterdir())
    shares = persistence.persistence(run)
    assert not ladder.ladder_table(run).empty and not sae_transfer.swap(run).empty
    assert not weight_matching.shares(run).empty
    assert sorted(run.root.iterdir()) == made  # all was ready
    stated = shares[(shares["features"] == "all")]
    assert stated[["observed", "ceiling", "null"]].apply(lambda x: x.between(0, 1)).all(axis=None)
    assert set(run.logs("base", "lua")["step"]) == {0}
    facts = provenance.provenance(run)["models"]["merged"]
    assert facts["folder"] == "baby-python-1L-mistral-lua-stories-slerp"
    assert "model-00001-of-00001.safetensors" in facts["sha256"]
    assert "Models given: base = baby-python-mistral-1L-tiny-base;" in provenance.note(run)


@pytest.mark.parametrize("kind", networks.CONFIGS)
def test_what_is_not_given_is_made_from_what_is(kind, small, tmp_path):
    networks.put(tmp_path / "mine", networks.network(networks.CONFIGS[kind]), networks.tokenizer(kind))
    base = '[models.base]\ngiven = "mine"\ntext = ["english", "python"]\n'
    run = open_run(small(base + "[models.lua]\n[models.stories]\n[models.merged]\n"), hook="blocks.1.hook_mlp_out")
    assert run.corpus.context == 24 and run.saes("lua")[0].hook == "blocks.1.hook_mlp_out"
    assert run.saes("base")[0].w_enc.shape == (48, 16)
    assert len(run.losses("base", "lua", "stories", "merged", "ngram")) == 4 * 8 + 4
    changed = merging.differing(run.model("base").state_dict(), run.model("lua").state_dict())
    assert any("mlp" in name for name in changed)
    assert not feature_flow.flow(run).empty and len(baselines.random(run, ("lua", 1))["r_of_b"]) > 0
    assert len(run.angles()) == len(changed)


def test_models_by_name_on_a_folder_of_text(released, text, small):
    folders = {name: released / networks.RELEASED[name] for name in ("base", "lua")}
    run = open_run(small(), str(text), ",".join(f"{name}={folder}" for name, folder in folders.items()))
    assert run.lineage.edges == (("base", "lua"),) and run.given == folders
    assert run.lineage.domains == ("english", "lua", "python", "stories")  # the folder's, in its order
    assert len(run.losses("base", "lua")) == 16
    assert run.figures.name == f"small-{text.name}-baby-python-mistral-1L-tiny-base+baby-python-mistral-1L-tiny-lua-ft"


@pytest.mark.parametrize("kind", networks.CONFIGS)
def test_a_taken_model_is_the_same_model_renumbered(kind, tmp_path):
    tokenizer = networks.tokenizer(kind)
    source = networks.put(tmp_path / kind, networks.network(networks.CONFIGS[kind]), tokenizer)
    opening = 289 if kind.startswith("gpt") else 1
    tokens = given_tokenizers.tokenizer(source, 24)
    given.take(source, tokens, tmp_path / "taken")
    ids = np.random.default_rng(0).integers(2, 280, (2, 20))
    ids[0, 0], ids[1, 5] = opening, 0
    swap = np.arange(300)
    swap[[0, opening]] = opening, 0
    with torch.inference_mode():
        before = lm.load(source)(input_ids=torch.from_numpy(ids)).logits.numpy()
        after = lm.load(tmp_path / "taken")(input_ids=torch.from_numpy(swap[ids])).logits.numpy()
    np.testing.assert_allclose(after[..., swap], before, atol=1e-5)
    text = "once upon a river é\n  def x(y): 1234"
    numbers = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokens(text, add_special_tokens=False)["input_ids"] == swap[numbers].tolist()
    assert tokens.decode(swap[numbers]) == tokenizer.decode(numbers)
    assert tokens.convert_tokens_to_ids(tokens.bos_token) == 0


def test_tokens_of_pieces_are_read_as_the_bytes_they_stand_for(released, small):
    run = open_run(small(networks.local(released)))
    tokenizer, sizes = run.corpus.tokenizer, run.corpus.token_bytes
    numbers = tokenizer("there lived é\n", add_special_tokens=False)["input_ids"]
    spelled = [bpe.token_text(tokenizer, i) for i in numbers]
    raw = b"".join(part if isinstance(part, bytes) else part.encode() for part in spelled)
    assert raw == " there lived é\n".encode() and sizes[numbers].sum() == len(raw)
    assert tokenizer.convert_ids_to_tokens([0, *numbers[:1]])[0] == "<s>" and sizes[0] == 0
    stream = run.corpus.tokens("stories", "train")
    documents = tokenizer.decode(stream).split("<s>")[1:]
    known = tiny.texts()["stories"]
    assert len(documents) > 2 and {document.strip() for document in documents} <= set(known)


def test_the_lineage_takes_the_models_sizes_and_refuses_a_hook_they_lack(released, small, tmp_path):
    p = read(small(networks.local(released)))
    folders = given.folders(p, tmp_path)
    fitted = given.fit(p, folders)
    assert (fitted.model.d_model, fitted.model.d_mlp, fitted.model.heads, fitted.corpora.vocab) == (32, 64, 4, 300)
    assert fitted.corpora.context == p.corpora.context  # the model's is longer
    assert given.fit(read("smoke"), given.folders(read("smoke"), tmp_path)) == read("smoke")
    with pytest.raises(lm.ModelError, match="'blocks.3.hook_mlp_out' is no hook point of this model"):
        given.fit(read(small(networks.local(released)), **{"sae.hook": "blocks.3.hook_mlp_out"}), folders)
