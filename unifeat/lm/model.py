"""The language model: built, saved, loaded, described."""

import hashlib
from pathlib import Path

import torch

from unifeat.lm import folders, proof
from unifeat.lm.attention import kernel
from unifeat.lm.hooks import ModelError, context, hook_module
from unifeat.support import import_lock, pretrained
from unifeat.support.errors import reason


def build(config, vocab: int, context: int):
    """A randomly initialised MistralForCausalLM; the same seed gives the same weights."""
    with import_lock.LOCK, torch.random.fork_rng():
        from transformers import MistralConfig, MistralForCausalLM

        torch.manual_seed(config.seed)
        return MistralForCausalLM(MistralConfig(
            vocab_size=vocab, hidden_size=config.d_model, intermediate_size=config.d_mlp,
            num_hidden_layers=config.layers, num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads, max_position_embeddings=context, rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta}, sliding_window=None,
            tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, pad_token_id=None,
            attn_implementation=kernel())).eval()


def save(model, tokenizer, folder: Path) -> None:
    """Write the model and its tokenizer in Hugging Face layout (safetensors)."""
    _quiet()
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def load(folder: str | Path):
    """The causal language model in `folder` (Hugging Face layout, safetensors), in evaluation mode and float32.

    Raises:
        ModelError: what `folders.check` and `proof.prove` refuse; weights that are missing, of another shape or not
            finite.
    """
    folder = Path(folder)
    folders.check(folder, "the model")
    with import_lock.LOCK:
        _quiet()
        try:
            model, info = pretrained.model(folder, dtype=torch.float32, output_loading_info=True)
        except Exception as error:
            raise ModelError(f"The model in {folder} cannot be loaded ({reason(error)}); save it again with "
                             "save_pretrained, weights as safetensors.") from error
    if absent := sorted(info["missing_keys"]) + sorted(str(item) for item in info["mismatched_keys"]):
        raise ModelError(f"The model in {folder} lacks the tensor {absent[0]}; its weights file is incomplete.")
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise ModelError(f"The model in {folder} has values in {name} that are not finite; train or save it again.")
    return proof.prove(model, f"in {folder}")


def _quiet() -> None:
    """No progress bars for files of a few megabytes, and no warnings of what is checked here."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def weights_hash(model) -> str:
    """Hash of every parameter's name, shape and values, 16 hexadecimal digits."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        total.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def describe(model) -> dict:
    """Sizes of a model, for figures and tables."""
    config = model.config
    heads = getattr(config, "num_attention_heads", None)  # RWKV has none
    return dict(parameters=sum(p.numel() for p in model.parameters()), layers=config.num_hidden_layers,
                d_model=config.hidden_size, d_mlp=sum(hook_module(model).weight.shape) - config.hidden_size,
                heads=heads, kv_heads=getattr(config, "num_key_value_heads", heads), vocab=config.vocab_size,
                context=context(model))
