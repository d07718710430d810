"""Every causal architecture: computed as the model itself does, or refused by its name."""

import copy
from types import SimpleNamespace

import architectures
import numpy as np
import patches
import pytest
import torch

from unifeat import lm
from unifeat.lm import logit_lens, proof, training
from unifeat.lm.way import Way, way

UNBUILT = """
bamba blt cohere_compass_text dbrx dots1 dots3_note emu3 fuyu gemma3 gemma3n gemma3n_text gemma4
gemma4_assistant gemma4_text gemma4_unified gemma4_unified_assistant git got_ocr2 granitemoehybrid lfm2_moe
llama4 longcat_flash mamba2 mllama moss_transcribe_diarize musicgen musicgen_melody phi4_multimodal qwen3_5
qwen3_5_moe qwen4_exp reformer roc_bert xlm zamba zamba2 zaya
"""
SUPPORTED = """
apertus arcee bailing_hybrid beam biogpt bitnet bloom codegen cohere cohere2 ctrl cwm deepseek_v3 deepseek_v32
diffllama doge ernie4_5 exaone4 falcon falcon_h1 flint gemma gemma2 gemma3_text gemma4_unified_text glm glm4 glm_moe_dsa
gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gptj granite granite_swa helium hunyuan_v1_dense
hyperclovax internlm3 iquestcoder jais2 lfm2 lfm3 llama minicpm3 ministral ministral3 mistral
modernbert-decoder moshi mpt nanochat nemotron olmo olmo2 olmo3 olmo_hybrid opt persimmon phi phi3 qwen2 qwen3
qwen3_5_text recurrent_gemma rwkv seed_oss smollm3 stablelm starcoder2 vaultgemma xglm xlstm youtu
"""


def own(model, tokens):
    with torch.no_grad():
        return model(input_ids=tokens, labels=tokens, use_cache=False)


@pytest.mark.parametrize("kind", architectures.kinds())
def test_an_architecture_is_computed_as_its_own_code_does_or_refused(kind, monkeypatch):
    patches.float32(monkeypatch)
    model = architectures.small(kind)
    assert (model is None) == (kind in UNBUILT.split())
    if model is None:
        return
    eager = copy.deepcopy(model)
    if kind not in SUPPORTED.split():
        with pytest.raises(lm.ModelError, match=rf"{type(model).__name__}|{kind}|mixture of experts"):
            lm.prove(model, kind)
        return
    tokens = torch.from_numpy(np.random.default_rng(1).integers(4, 99, (3, min(lm.describe(model)["context"], 32))))
    said = own(eager, tokens)
    lm.prove(model, kind)
    assert lm.evaluate(model, tokens.numpy())["loss_nats"] == pytest.approx(said.loss.item(), rel=1e-4)
    assert training.loss_of(model, tokens).item() == pytest.approx(said.loss.item(), rel=1e-4)
    for hook in (f"blocks.1.{point}" for point in lm.HOOKS):
        width = lm.describe(model)["d_mlp" if hook.endswith("hook_post") else "d_model"]
        assert lm.activations(model, tokens, hook).shape == (*tokens.shape, width)
        with lm.hooked(model, lambda x: x + 1, hook):
            assert not torch.equal(own(model, tokens).logits, said.logits)
    streams = []
    handle = logit_lens.final_norm(model).register_forward_pre_hook(lambda _, args: streams.append(args[0]))
    own(model, tokens)
    handle.remove()
    torch.testing.assert_close(logit_lens.unembed(model, streams[-1][0]), said.logits[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", ["gemma2", "cohere", "llama", "nanochat", "olmo"])
def test_the_effect_on_the_logits_is_the_slope_of_the_models_own(kind):
    model = lm.prove(architectures.small(kind), kind)
    norm, d = logit_lens.final_norm(model), model.config.hidden_size
    stream = torch.ones(1, d)  # of mean square 1 and, after the change of signs, mean 0: the norm divides by 1
    stream[:, ::2] = -1
    written = 1e-3 * torch.randn(1, d)
    written -= written @ stream.T / d * stream  # along the stream the norm undoes a write
    with torch.no_grad():
        moved = lm.head(model)(norm(stream + written)) - lm.head(model)(norm(stream - written))
        z = lm.head(model)(norm(stream))
        cap = getattr(model.config, "final_logit_softcapping", None)
        slope = 1 - (z / cap) ** 2 if cap else 1.0
        torch.testing.assert_close(moved / 2, slope * logit_lens.logits(model, written), atol=2e-5, rtol=2e-2)


def test_what_our_kernel_does_not_know_is_left_to_the_models_own(capsys):
    proof._say.cache_clear()
    model = architectures.small("gemma2")
    assert lm.prove(model, "m").config._attn_implementation == "eager" and not way(model).plain_head
    assert "Gemma2ForCausalLM is computed with its own attention and head" in capsys.readouterr().err
    lm.prove(architectures.small("gemma2"), "m")
    assert not capsys.readouterr().err, "said once"
    assert lm.prove(architectures.small("llama"), "m").config._attn_implementation == lm.kernel()


def test_a_window_shorter_than_the_text_is_kept(monkeypatch):
    patches.float32(monkeypatch)
    model = lm.prove(architectures.small("mistral", sliding_window=6), "m")
    tokens = torch.randint(4, 99, (2, 32), generator=torch.Generator().manual_seed(0))
    model.config.sliding_window = None
    wide = own(copy.deepcopy(model), tokens).loss.item()
    model.config.sliding_window = 6
    assert lm.evaluate(model, tokens.numpy())["loss_nats"] == pytest.approx(own(model, tokens).loss.item(), rel=1e-5)
    assert abs(wide - own(model, tokens).loss.item()) > 1e-4


def test_a_factor_between_mlp_and_stream_is_measured():
    model = lm.prove(architectures.small("granite", residual_multiplier=0.25), "m")
    assert set(way(model).gains) == {f"blocks.{i}.{point}" for i in (0, 1) for point in proof.WRITES}
    for gain in way(model).gains.values():
        torch.testing.assert_close(gain, torch.full((16,), 0.25), rtol=1e-3, atol=0)
    direction = torch.randn(1, 24)
    plain = direction @ lm.hook_module(model, "blocks.1.mlp.hook_post").weight.T
    torch.testing.assert_close(logit_lens.residual(model, direction, "blocks.1.mlp.hook_post"), plain / 4, rtol=1e-3,
                               atol=1e-6)
    assert lm.prove(architectures.small("llama"), "m").unifeat_way == Way()


class Faulty:
    """A change of a sound model that must be seen."""

    @staticmethod
    def later(model):
        layer = model.model.layers[0]
        layer.register_forward_hook(lambda _, __, out: (out[0] if isinstance(out, tuple) else out).flip(1))

    @staticmethod
    def loss(model):
        model.loss_function = lambda logits, labels, **_: logits.square().mean()

    @staticmethod
    def experts(model):
        model.model.layers[1].mlp.experts = torch.nn.Linear(2, 2)

    @staticmethod
    def twice(model):
        model.model.layers[0].mlp.down_proj.register_forward_hook(
            lambda part, args, out: None if getattr(part, "again", False) else _again(part, args))

    @staticmethod
    def stream(model):
        forward = model.model.forward
        model.model.forward = lambda *args, **more: SimpleNamespace(
            last_hidden_state=forward(*args, **more)[0] * 2 + 1, past_key_values=None, hidden_states=None,
            attentions=None)


def _again(part, args):
    part.again = True
    out = part(args[0]) * 2
    part.again = False
    return out


@pytest.mark.parametrize(("fault", "says"), [
    ("later", "a token's logits change with later tokens"), ("loss", "its own loss is .* where the next-token cross"),
    ("experts", "holds a mixture of experts"), ("twice", "last projection runs 2 times in a block"),
    ("stream", "is not the final norm of its last block's output")])
def test_a_fault_is_named(fault, says):
    model = architectures.small("llama")
    getattr(Faulty, fault)(model)
    with pytest.raises(lm.ModelError, match=says):
        lm.prove(model, "of mine")
