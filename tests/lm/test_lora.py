"""Low-rank adapters: nothing at first, and the same model once they are merged."""

import networks
import pytest
import torch

from unifeat.lm import lora


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
def test_adapters_change_nothing_at_first_and_merge_into_the_same_function(kind):
    model, tokens = networks.network(networks.CONFIGS[kind]).eval(), torch.arange(10)[None]
    before, kinds = model(tokens).logits, [type(one) for one in model.modules()]
    names = [name for name, _ in model.named_parameters()]
    count = lora.add(model, 2)
    learning = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert sum(one.numel() for one in learning.values()) == count and all("lora_" in name for name in learning)
    assert torch.equal(model(tokens).logits, before)
    for one in learning.values():
        one.data = 0.1 * torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
    with_adapters = model(tokens).logits
    assert (with_adapters - before).abs().max() > 1e-3
    lora.merge(model)
    torch.testing.assert_close(model(tokens).logits, with_adapters, atol=1e-4, rtol=1e-4)
    assert [type(one) for one in model.modules()] == kinds and all(one.requires_grad for one in model.parameters())
    assert [name for name, _ in model.named_parameters()] == names
