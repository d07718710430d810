"""Hook points and the way to the logits, in models of four architectures."""

import networks
import numpy as np
import pytest
import torch

from unifeat import lm
from unifeat.lm import logit_lens
from unifeat.sae import features


@pytest.mark.parametrize("kind", networks.CONFIGS)
def test_the_way_to_the_logits_is_the_models_own(kind):
    model = networks.network(networks.CONFIGS[kind]).eval()
    hook, tokens = "blocks.1.mlp.hook_post", torch.randint(0, 300, (1, 12))
    d = lm.activations(model, tokens, hook).shape[-1]
    direction, parts = 0.3 * torch.randn(1, d), []
    handle = logit_lens.final_norm(model).register_forward_pre_hook(lambda _, args: parts.append(args[0][0]))
    with torch.inference_mode():
        clean = model(input_ids=tokens).logits[0]
        with lm.hooked(model, lambda x: x + direction, hook):
            moved = model(input_ids=tokens).logits[0]
        handle.remove()
        written = logit_lens.residual(model, direction, hook)
        torch.testing.assert_close(parts[1] - parts[0], written.expand(12, -1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(logit_lens.unembed(model, parts[0]), clean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(logit_lens.unembed(model, parts[0] + written), moved, atol=1e-4, rtol=1e-3)
        effect, small = logit_lens.logits(model, written)[0], logit_lens.unembed(model, 1e3 * written)[0]
        assert logit_lens.residual(model, written, "blocks.1.hook_mlp_out") is written
    bias = getattr(logit_lens.final_norm(model), "bias", None)
    if bias is not None:  # of a large write alone the norm's bias remains
        small = small - logit_lens.unembed(model, torch.zeros_like(written))[0]
    assert np.corrcoef(effect, small.detach())[0, 1] > 0.9999


def test_features_at_any_hook_of_any_layer():
    model = networks.network(networks.CONFIGS["gpt_neox"])
    tokens = np.random.default_rng(0).integers(0, 290, (3, 20))
    for hook, width in (("blocks.0.mlp.hook_post", 24), ("blocks.1.hook_mlp_out", 16),
                        ("blocks.1.hook_resid_post", 16)):
        assert features.text_activations(model, tokens, hook).shape == ((tokens > 0).sum(), width)
