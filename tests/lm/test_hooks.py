"""Hook points: the activations that TransformerLens shows, read and replaced."""

import numpy as np
import patches
import pytest
import torch

from unifeat import lineage, lm
from unifeat.text import bpe

SIZES = dict(vocab_size=300, max_position_embeddings=32, bos_token_id=0, eos_token_id=0)
PLAIN = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
ARCHITECTURES = {"Mistral": PLAIN | dict(num_key_value_heads=1), "Llama": PLAIN, "GPTNeoX": PLAIN,
                 "GPT2": dict(n_embd=16, n_inner=24, n_layer=2, n_head=2)}


def tokens(n=3):
    return torch.tensor(np.random.default_rng(0).integers(1, 260, (n, 32)))


def test_reading_changes_no_logit_and_equals_the_definition(monkeypatch):
    patches.float32(monkeypatch)
    model = lm.build(lineage.read("smoke").model, 300, 32)
    with torch.inference_mode():
        plain = model(input_ids=tokens()).logits
        with lm.hooked(model, lambda x: None):
            assert torch.equal(model(input_ids=tokens()).logits, plain)
        x = lm.activations(model, tokens())
        with lm.hooked(model, lambda y: torch.zeros_like(y)):
            assert not torch.equal(model(input_ids=tokens()).logits, plain)
        assert torch.equal(model(input_ids=tokens()).logits, plain)  # the hook is gone again
        mlp, inputs = model.model.layers[0].mlp, []
        handle = mlp.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        model(input_ids=tokens())
        handle.remove()
        torch.testing.assert_close(x, torch.nn.functional.silu(mlp.gate_proj(inputs[0])) * mlp.up_proj(inputs[0]))


@pytest.mark.parametrize("point", lm.HOOKS)
def test_a_hook_is_gone_even_after_an_error(point):
    model, hook = lm.build(lineage.read("smoke").model, 300, 32), f"blocks.0.{point}"
    with torch.inference_mode():
        plain = model(input_ids=tokens()).logits
        with pytest.raises(ZeroDivisionError), lm.hooked(model, lambda x: 1 / 0, hook):
            model(input_ids=tokens())
        assert torch.equal(model(input_ids=tokens()).logits, plain)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_hook_points_are_transformer_lens_own(name, tmp_path):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, **ARCHITECTURES[name])
    kind = {"GPT2": "GPT2LMHeadModel"}.get(name, f"{name}ForCausalLM")
    tokenizer = bpe.wrap(bpe.train(["some text to train a tokenizer on " * 20], 300), 32)
    lm.save(getattr(transformers, kind)(config), tokenizer, tmp_path)
    model, bridge = lm.load(tmp_path), lm.bridge(tmp_path)
    _, cache = bridge.run_with_cache(tokens(2))
    for point in lm.HOOKS:
        hook = f"blocks.1.{point}"
        torch.testing.assert_close(lm.activations(model, tokens(2), hook).float(), cache[hook], rtol=2e-2, atol=2e-3)
        with lm.hooked(model, torch.zeros_like, hook), torch.inference_mode():
            assert not torch.equal(model(input_ids=tokens(2)).logits, bridge(tokens(2)))
    loss = lm.evaluate(model, tokens(2).numpy())["loss_nats"]
    assert loss == pytest.approx(model(input_ids=tokens(2), labels=tokens(2)).loss.item(), rel=1e-2)
    for hook in ("blocks.2.mlp.hook_post", "blocks.0.attn.hook_z", "mlp.hook_post", ""):
        with pytest.raises(lm.ModelError, match=r"no hook point.*0 to 1"):
            lm.hook_module(model, hook)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(lm.ModelError, match="Linear has no blocks with an MLP; use a causal language model"):
        lm.layers(torch.nn.Linear(2, 2))
