"""SAEs in other libraries' layouts, exported runs and their cards, and the push to the hub (against a local server)."""

import base64
import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
import tiny
import torch
from huggingface_hub import HfApi, ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from unifeat import __main__ as cli
from unifeat import lm
from unifeat.lineage import settings
from unifeat.lineage.run import Run
from unifeat.pipeline import export
from unifeat.sae import formats
from unifeat.sae.model import Sae, SaeError
from unifeat.support.errors import UnifeatError

SAES = st.builds(lambda *a: make(*a), st.sampled_from(settings.KINDS), st.integers(1, 9), st.integers(1, 12),
                 st.floats(0.05, 20), st.integers(0, 10_000))
FIXED = settings(max_examples=30, deadline=None, derandomize=True)  # a latent may stand on the edge of a threshold


def make(kind="topk", d=5, width=12, scale=1.7, seed=0) -> Sae:
    generator = torch.Generator().manual_seed(seed)
    w_dec = torch.nn.functional.normalize(torch.randn(width, d, generator=generator))
    w_enc, b_enc, b_dec = (torch.randn(shape, generator=generator) for shape in ((width, d), (width,), (d,)))
    return Sae(kind, 1 + seed % width, w_enc, b_enc, w_dec, b_dec, scale, 0.7 if kind == "batchtopk" else 0.0,
               "0123456789abcdef", seed, 0.25)


def inputs(d=5, n=20):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(7))


def formula(one: Sae, x: torch.Tensor):
    """Latents and reconstructions in float64, as the docstring of Sae states them; its encode may use bfloat16."""
    z = (one.scale * x.double() - one.b_dec) @ one.w_enc.double().T + one.b_enc
    f = z.clamp_min(0)
    if one.kind == "topk":
        f = f * (z >= z.sort(1, descending=True).values[:, one.k - 1:one.k])
    if one.kind == "batchtopk":
        f = f * (z >= one.threshold)
    return f, (f @ one.w_dec.double() + one.b_dec) / one.scale


def agree(one: Sae, other: Sae, scale: float):
    """`other` gives the latents of `one` divided by `scale`, and its reconstructions."""
    x = inputs(one.w_enc.shape[1])
    (f, x_hat), (g, y) = formula(one, x), formula(other, x)
    torch.testing.assert_close(g * scale, f, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(y, x_hat, rtol=1e-4, atol=1e-4 / scale)


@FIXED
@given(SAES)
def test_the_scale_folds_into_biases_and_threshold(one):
    agree(one, formats.folded(one), one.scale)
    assert formats.folded(one).scale == 1 and torch.equal(formats.folded(one).w_dec, one.w_dec)


@FIXED
@given(one=SAES)
def test_saelens_and_back(one, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saelens")
    formats.save_saelens(one, folder, "me/model")
    back = formats.load_saelens(folder)
    agree(one, back, one.scale)
    facts = ("kind", "k", "lm_hash", "seed", "dead_share", "width")
    assert [getattr(back, name) for name in facts] == [getattr(one, name) for name in facts]
    config, tensors = json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")
    assert config["metadata"]["model_name"] == "me/model"
    assert (config["d_in"], config["d_sae"]) == tensors["W_enc"].shape == tensors["W_dec"].T.shape
    assert ("threshold" in tensors) == (config["architecture"] == "jumprelu")


@FIXED
@given(one=SAES)
def test_dictionary_learnings_own_formula_gives_the_latents(one, tmp_path_factory):
    """Its encode, written from its sources: relu(W (x - b) + c), then the k largest or those above a threshold."""
    folder, x = tmp_path_factory.mktemp("dictionary"), inputs(one.w_enc.shape[1])
    formats.save_dictionary_learning(one, folder)
    state = torch.load(folder / "ae.pt", weights_only=True)
    trainer = json.loads((folder / "config.json").read_text())["trainer"]
    bias = state["bias" if trainer["dict_class"] == "AutoEncoder" else "b_dec"]
    f = ((x - bias) @ state["encoder.weight"].T + state["encoder.bias"]).relu()
    if trainer["dict_class"] == "AutoEncoderTopK":
        top = f.topk(state["k"])
        f = torch.zeros_like(f).scatter_(1, top.indices, top.values)
    if trainer["dict_class"] == "BatchTopKSAE":
        f = f * (f > state["threshold"])
    wanted, x_hat = formula(one, x)
    torch.testing.assert_close(f.double() * one.scale, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((f @ state["decoder.weight"].T + bias).double(), x_hat, rtol=1e-4,
                               atol=1e-4 / one.scale)
    assert (trainer["activation_dim"], trainer["dict_size"], trainer["k"]) == (*state["decoder.weight"].shape, one.k)


def change(folder, config=None, **tensors):
    """Edit a SAELens folder: `config` and `tensors` by name, None to drop one."""
    found = json.loads((folder / "cfg.json").read_text()) | (config or {})
    (folder / "cfg.json").write_text(json.dumps(found))
    weights = load_file(folder / "sae_weights.safetensors") | tensors
    save_file({name: value for name, value in weights.items() if value is not None},
              folder / "sae_weights.safetensors")


def test_an_encoder_without_b_dec_and_scaling_by_decoder_norms_are_folded_in(tmp_path):
    one, x = make("topk"), inputs()
    formats.save_saelens(one, tmp_path)
    w_dec = one.w_dec * torch.linspace(0.2, 3, 12)[:, None]
    change(tmp_path, dict(apply_b_dec_to_input=False, rescale_acts_by_decoder_norm=True), W_dec=w_dec)
    tensors = load_file(tmp_path / "sae_weights.safetensors")
    z = (x @ tensors["W_enc"] + tensors["b_enc"]) * w_dec.norm(dim=1)
    top = z.topk(one.k)
    f = torch.zeros_like(z).scatter_(1, top.indices, top.values.relu())
    found, x_hat = formula(formats.load_saelens(tmp_path), x)
    torch.testing.assert_close(found.float(), f, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(x_hat.float(), f / w_dec.norm(dim=1) @ w_dec + tensors["b_dec"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("config", "tensors", "words"), [
    (dict(architecture="gated"), {}, "its architecture is gated"),
    (dict(normalize_activations="layer_norm"), {}, "its normalize_activations is layer_norm"),
    (dict(reshape_activations="hook_z"), {}, "its reshape_activations is hook_z"),
    (dict(metadata={}), {}, "it was saved before SAELens 6"),
    (dict(metadata=dict(sae_lens_version="5.11.0")), {}, "it was saved before SAELens 6"),
    ({}, dict(b_enc=None), r"its tensor b_enc is missing, not finite or not of shape \(12,\)"),
    ({}, dict(W_dec=torch.zeros(12, 4)), "its tensor W_dec is missing, not finite"),
    ({}, dict(b_dec=torch.full((5,), math.nan)), "its tensor b_dec is missing, not finite"),
    ({}, dict(threshold=torch.arange(12.0)), "its thresholds differ between latents"),
    (dict(d_sae=13), {}, "its tensor W_enc is missing"),
])
def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path, config, tensors, words):
    formats.save_saelens(make("batchtopk"), tmp_path)
    change(tmp_path, config, **tensors)
    with pytest.raises(SaeError, match=words) as caught:
        formats.load_saelens(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_and_missing_files_are_refused(tmp_path):
    formats.save_saelens(make(), tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(b"no weights")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(SaeError, match="cannot be loaded"):
            formats.load_saelens(folder)


# Export of a run ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    profile = settings.load(small[0], **{"corpora.source": "files", "corpora.folder": small[1]})
    run = Run(profile, tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("figures"))
    run.losses("lua"), run.sae_table("lua")
    return run


def test_an_exported_model_is_the_runs_with_a_card_the_hub_can_read(run, tmp_path):
    export.export(run, "lua", tmp_path / "new", "huggingface", ["me/base"])
    assert lm.weights_hash(lm.load(tmp_path / "new")) == lm.weights_hash(run.model("lua"))
    card = ModelCard.load(tmp_path / "new" / "README.md")
    card.data.to_dict()
    assert (card.data.library_name, card.data.base_model) == ("transformers", ["me/base"])
    rows = run.losses("lua")
    wanted = rows[(rows["split"] == "validation") & (rows["domain"] == "lua")].iloc[0]
    assert f"| lua | {wanted['loss_nats']:.4f} | {wanted['accuracy']:.4f} |" in card.text
    seen = card.text.split("## Text it has seen")[1].split("##")[0]
    assert all(f"| {domain} | " in seen for domain in ("english", "python", "lua")) and "stories" not in seen
    assert "| licence |" in seen and "| the user's |" in seen and "fine-tuned from the run's base model" in card.text


@pytest.mark.parametrize("layout", ["saelens", "dictionary_learning"])
def test_exported_saes_are_the_runs_one_folder_per_seed(run, tmp_path, layout):
    export.export(run, "lua", tmp_path / "new", layout)
    for one in run.saes("lua"):
        if layout == "saelens":
            agree_on_rows(one, formats.load_saelens(tmp_path / "new" / f"seed{one.seed}"))
        else:
            state = torch.load(tmp_path / "new" / f"seed{one.seed}" / "ae.pt", weights_only=True)
            assert torch.equal(state["encoder.weight"], one.w_enc)
    card = ModelCard.load(tmp_path / "new" / "README.md")
    assert card.data.library_name == layout and card.data.base_model is None
    table = run.sae_table("lua")
    assert all(f"{value:.4f}" in card.text for value in table["fvu"]) and "dead_share" in card.text
    assert f"divided by {run.saes('lua')[0].scale:.6g}" in card.text and "activations over lua;" in card.text


def agree_on_rows(one, back):
    agree(one, back, one.scale)
    assert back.lm_hash == one.lm_hash and back.seed == one.seed


def test_export_reads_and_never_computes_and_overwrites_nothing(run, tmp_path):
    with pytest.raises(UnifeatError, match="has no losses-base of profile .* run `make figures`"):
        export.export(run, "base", tmp_path / "new", "huggingface")
    empty = Run(run.lineage, tmp_path / "store", tmp_path)
    with pytest.raises(UnifeatError, match="has no corpora of profile"):
        export.export(empty, "lua", tmp_path / "new", "saelens")
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").write_text("mine")
    for used in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UnifeatError, match="is not empty; name a new folder"):
            export.export(run, "lua", used, "saelens")


def test_the_command_exports_and_explains_itself(run, small, tmp_path, monkeypatch, capsys):
    arguments = ["--profile", small[0], "--corpora", small[1], "--to", str(tmp_path / "new")]
    monkeypatch.setenv("UNIFEAT_STORE", str(run.root))
    assert cli.main(["export", "--model", "lua", "--format", "saelens", *arguments]) == 0
    assert formats.load_saelens(tmp_path / "new" / "seed0").width == run.lineage.sae.width
    assert cli.main(["export", "--model", "lua", *arguments]) == 2
    assert capsys.readouterr().err.endswith("so that nothing of yours is overwritten.\n")


# The hub ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub():
    """A server on this machine that answers the three requests of an upload and keeps what it was sent."""
    sent = {}

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            where = self.path.split("/")[-2 if "/main" in self.path else -1]
            sent[where] = [json.loads(line) for line in body.splitlines()]
            if where == "create":
                answer = dict(url=f"{server.url}/me/saes")
            elif where == "preupload":
                answer = dict(files=[dict(path=file["path"], uploadMode="regular", shouldIgnore=False)
                                     for file in sent[where][0]["files"]])
            else:
                answer = dict(success=True, commitOid="0" * 40, commitUrl=f"{server.url}/me/saes/commit/{'0' * 40}")
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.url, server.sent = f"http://127.0.0.1:{server.server_port}", sent
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def exported(folder):
    formats.save_saelens(make(), folder / "seed0")
    (folder / "README.md").write_text("a card", encoding="utf-8")
    return folder


@pytest.mark.parametrize("public", [False, True])
def test_push_sends_every_file_to_a_repository_that_is_private_unless_asked(hub, tmp_path, public):
    api = HfApi(endpoint=hub.url, token="hf_test")
    assert export.push(exported(tmp_path), "me/saes", public, api) == f"{hub.url}/me/saes"
    create, = hub.sent["create"]
    assert (create["name"], create["organization"]) == ("saes", "me")
    assert create.get("private", create.get("visibility") == "private") is not public
    header, *files = [line["value"] for line in hub.sent["commit"]]
    assert header["summary"] == f"{tmp_path.name} of unifeat"
    found = {file["path"]: base64.b64decode(file["content"]) for file in files}
    assert found == {name: (tmp_path / name).read_bytes()
                     for name in ("README.md", "seed0/cfg.json", "seed0/sae_weights.safetensors")}


def test_what_cannot_be_pushed_is_one_sentence(hub, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["push", str(tmp_path / "empty"), "me/saes"]) == 2
    assert "holds no exported model" in capsys.readouterr().err and not hub.sent
    with pytest.raises(UnifeatError, match=r"could not be pushed to a/b/c \(Repo id.*check the name, the network"):
        export.push(exported(tmp_path), "a/b/c", api=HfApi(endpoint=hub.url, token="hf_test"))
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UnifeatError, match=r"could not be pushed to me/saes \(.+\); check the name, the network"):
        export.push(tmp_path, "me/saes", api=HfApi(endpoint=hub.url, token="hf_test"))


def test_a_card_shows_numbers_to_four_digits_and_links_its_base_models():
    frame = pd.DataFrame(dict(model="lua", kind="topk", seed=0, arm="controlled", fvu=[0.123456]))
    texts = pd.DataFrame(dict(domain="lua", split=["train", "validation"], source="s", version="1", licence="MIT",
                              documents=3, bytes=9))
    card = ModelCard(formats.sae_card("lua", "saelens", "About it.", texts, frame, ["me/lua"]))
    assert card.data.base_model == ["me/lua"] and "| topk | 0 | 0.1235 |" in card.text
    assert card.text.count("| lua | s | 1 | MIT | 3 | 9 |") == 1
