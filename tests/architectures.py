"""Small causal models with random weights of every architecture that transformers knows."""

import torch

SIZES = dict(
    vocab_size=99, hidden_size=16, n_embd=16, d_model=16, embed_dim=16, word_embed_proj_dim=16, embedding_size=16,
    intermediate_size=24, n_inner=24, ffn_dim=24, d_inner=24, ffn_hidden_size=24, dense_ffn_hidden_size=24, dff=24,
    decoder_ffn_dim=24, encoder_ffn_dim=24, shared_expert_intermediate_size=24, moe_intermediate_size=12,
    num_hidden_layers=2, n_layer=2, n_layers=2, num_layers=2, decoder_layers=2, encoder_layers=2,
    num_attention_heads=2, n_head=2, n_heads=2, num_heads=2, decoder_attention_heads=2, encoder_attention_heads=2,
    num_key_value_heads=2, head_dim=8, max_position_embeddings=32, n_positions=32, max_seq_len=32, seq_length=32,
    rotary_dim=4, num_local_experts=4, num_experts=4, n_routed_experts=4, num_experts_per_tok=2, q_lora_rank=8,
    kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8, attention_types=[[["global", "local"], 1]],
    window_size=8, sliding_window=12, pad_token_id=3, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
ODD = {"codegen": dict(n_head=4, n_embd=32), "xmod": dict(default_language="en_XX"),  # what these sizes do not fit
       **dict.fromkeys(("deepseek_v3", "deepseek_v32", "youtu"), dict(head_dim=4))}
LARGE = 3_000_000  # parameters; what is larger than this after all stays unbuilt


def kinds() -> list[str]:
    """Names of all causal architectures."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def small(kind: str, **more):
    """A small model of `kind` in its own eager attention, logits of some size; None if these sizes do not fit it."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    try:
        default = CONFIG_MAPPING[kind]().to_dict()
        sizes = {name: value for name, value in (SIZES | ODD.get(kind, {}) | more).items()
                 if name in default and (default[name] is not None or name not in ("sliding_window", "n_inner"))}
        config = CONFIG_MAPPING[kind](**sizes)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        if sum(value.numel() for value in model.parameters()) > LARGE:
            return None
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    except Exception:  # a config that wants other sizes yet, or a package that is not there
        return None
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn_like(value))
        if (head := model.get_output_embeddings()) is not None:
            head.weight.mul_(0.5 / head.weight.std())
    return model
