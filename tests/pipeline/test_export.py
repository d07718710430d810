"""Exported runs and their cards, and the push to the hub (against a local server)."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tiny
import torch
from huggingface_hub import HfApi, ModelCard

from unifeat import __main__ as cli
from unifeat import lineage, lm, sae
from unifeat.lineage.run import Run
from unifeat.pipeline import export
from unifeat.sae import formats, plain
from unifeat.support.errors import UnifeatError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    found = lineage.choose(*small)
    run = Run(found, tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("figures"))
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
    assert "| licence |" in seen and "| the user's |" in seen and "fine-tuned from the run's model base" in card.text


@pytest.mark.parametrize("layout", ["saelens", "dictionary_learning"])
def test_exported_saes_are_the_runs_one_folder_per_seed(run, tmp_path, layout):
    export.export(run, "lua", tmp_path / "new", layout)
    for one in run.saes("lua"):
        if layout == "saelens":
            back, x = formats.load_saelens(tmp_path / "new" / f"seed{one.seed}"), torch.randn(20, one.w_enc.shape[1])
            torch.testing.assert_close(plain.encode(back, x) * one.scale, plain.encode(one, x), rtol=1e-4, atol=1e-4)
            assert back.lm_hash == one.lm_hash and back.seed == one.seed
        else:
            state = torch.load(tmp_path / "new" / f"seed{one.seed}" / "ae.pt", weights_only=True)
            assert torch.equal(state["encoder.weight"], one.w_enc)
    card = ModelCard.load(tmp_path / "new" / "README.md")
    assert card.data.library_name == layout and card.data.base_model is None
    table = run.sae_table("lua")
    assert all(f"{value:.4f}" in card.text for value in table["fvu"]) and "dead_share" in card.text
    assert f"divided by {run.saes('lua')[0].scale:.6g}" in card.text
    assert "activations over english + python + stories + lua;" in card.text


def test_export_reads_and_never_computes_and_overwrites_nothing(run, tmp_path):
    with pytest.raises(UnifeatError, match="has no losses-base of lineage tiny .* run `make figures`"):
        export.export(run, "base", tmp_path / "new", "huggingface")
    empty = Run(run.lineage, tmp_path / "store", tmp_path)
    with pytest.raises(UnifeatError, match="has no corpora of lineage tiny"):
        export.export(empty, "lua", tmp_path / "new", "saelens")
    with pytest.raises(UnifeatError, match="has no model 'base2'; choose one of base, lua, stories, merged"):
        export.export(run, "base2", tmp_path / "new", "saelens")
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").write_text("mine")
    for used in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UnifeatError, match="is not empty; name a new folder"):
            export.export(run, "lua", used, "saelens")


def test_the_command_exports_and_explains_itself(run, small, tmp_path, monkeypatch, capsys):
    arguments = ["--lineage", small[0], "--corpora", small[1], "--to", str(tmp_path / "new")]
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
    formats.save_saelens(sae.Sae("relu", 1, torch.ones(3, 2), torch.ones(3), torch.ones(3, 2), torch.ones(2), 1.0),
                         folder / "seed0")
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
