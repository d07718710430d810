"""The language model: built, saved, loaded, its losses, and its activations at a hook point."""

import contextlib
import hashlib
import math
import re
from pathlib import Path

import numpy as np
import torch

from unifeat import attention as causal
from unifeat import late
from unifeat.errors import UnifeatError, reason
from unifeat.profiles import Model

CHUNK = 1024  # rows of logits held at once
HOOK = "blocks.0.mlp.hook_post"  # TransformerLens's name of the activation inside the first MLP
HOOKS = {"mlp.hook_post": "the input of the MLP's last projection", "hook_mlp_out": "the MLP's output",
         "hook_resid_post": "the block's output"}


class ModelError(UnifeatError):
    """A model folder that is not one of ours, or not the one that was meant."""


def device() -> torch.device:
    """CUDA where there is a GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype() -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster (CUDA Ampere and later, CPUs with AVX512-BF16), else float32.

    A fixed rule and not a timing, so that two runs on one machine take the same path.
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float32
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def tiles() -> bool:
    """Whether the CPU multiplies bfloat16 in tiles (AMX): by far faster than it does anything else."""
    return torch.cpu._is_amx_tile_supported()


def autocast() -> contextlib.AbstractContextManager:
    """Matrix products in `compute_dtype`, everything else in float32."""
    dtype = compute_dtype()
    return torch.autocast(device().type, dtype, enabled=dtype != torch.float32)


def build(config: Model, vocab: int, context: int):
    """A randomly initialised MistralForCausalLM; the same seed gives the same weights."""
    with late.LOCK, torch.random.fork_rng():
        from transformers import MistralConfig, MistralForCausalLM

        torch.manual_seed(config.seed)
        return MistralForCausalLM(MistralConfig(
            vocab_size=vocab, hidden_size=config.d_model, intermediate_size=config.d_mlp,
            num_hidden_layers=config.layers, num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads, max_position_embeddings=context, rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta}, sliding_window=None,
            tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, pad_token_id=None,
            attn_implementation=attention())).eval()


def attention() -> str:
    """Attention kernel: torch's on a GPU, ours on a CPU."""
    return "sdpa" if torch.cuda.is_available() else causal.register()


def save(model, tokenizer, folder: Path) -> None:
    """Write the model and its tokenizer in Hugging Face layout (safetensors)."""
    _quiet()
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def load(folder: str | Path):
    """The causal language model in `folder` (Hugging Face layout, safetensors), in evaluation mode and float32.

    Raises:
        ModelError: no such folder, missing or unreadable weights, weights of another shape or not finite, or an
            architecture without an MLP to hook.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no model (config.json is missing); give a folder in Hugging Face layout.")
    with late.LOCK:
        from transformers import AutoModelForCausalLM

        kernel = attention()
        _quiet()
        try:
            model, info = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32,
                attn_implementation=kernel, output_loading_info=True)
        except Exception as error:
            raise ModelError(f"The model in {folder} cannot be loaded ({reason(error)}); save it again with "
                             "save_pretrained, weights as safetensors.") from error
    if absent := sorted(info["missing_keys"]) + sorted(str(item) for item in info["mismatched_keys"]):
        raise ModelError(f"The model in {folder} lacks the tensor {absent[0]}; its weights file is incomplete.")
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise ModelError(f"The model in {folder} has values in {name} that are not finite; train or save it again.")
    site(model)
    return model.eval()


def _quiet() -> None:
    """No progress bars for files of a few megabytes, and no warnings of what is checked here."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def bridge(folder: str | Path):
    """TransformerLens's view of the model in `folder`, for exploring (hook names, caches, ablations)."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)


def weights_hash(model) -> str:
    """Hash of every parameter's name, shape and values, 16 hexadecimal digits."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        total.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


@torch.inference_mode()
def evaluate(model, blocks: np.ndarray, token_bytes: np.ndarray | None = None, batch: int = 32) -> dict:
    """Next-token loss and accuracy on `blocks` (n, context); with `token_bytes` (vocab,) bits per byte too.

    Returns tokens (predicted ones), loss_nats (mean), accuracy, and bytes and bits_per_byte: the summed loss in
    bits over the bytes that the predicted tokens stand for.
    """
    loss, right, count, size = 0.0, 0, 0, 0
    head = model.to(device()).get_output_embeddings()
    held = torch.empty(CHUNK, len(head.weight), device=device())  # the same memory for all chunks
    for start in range(0, len(blocks), batch):
        tokens = torch.from_numpy(np.asarray(blocks[start:start + batch]).astype(np.int64)).to(device())
        with autocast():
            hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
            rows, targets = hidden[:, :-1].reshape(-1, hidden.shape[-1]), tokens[:, 1:].reshape(-1)
            for i in range(0, len(rows), CHUNK):
                z, target = held[:len(rows[i:i + CHUNK])].copy_(head(rows[i:i + CHUNK])), targets[i:i + CHUNK, None]
                right += (z.max(-1, keepdim=True).indices == target).sum().item()
                loss -= torch.log_softmax(z, -1, out=z).gather(1, target).sum().item()
        count += len(targets)
        if token_bytes is not None:
            size += int(token_bytes[targets.cpu().numpy()].sum())
    out = dict(tokens=count, loss_nats=loss / count, accuracy=right / count)
    if token_bytes is not None:
        out |= dict(bytes=size, bits_per_byte=loss / math.log(2) / size)
    return out


def layers(model) -> torch.nn.ModuleList:
    """The transformer blocks of a Hugging Face model, whatever its architecture calls them.

    Raises:
        ModelError: it has none that look like blocks with an MLP.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) and hasattr(module[0], "mlp"):
            return module
    raise ModelError(f"{type(model).__name__} has no blocks with an MLP; use a causal language model such as Mistral, "
                     "Llama, GPT-2 or GPT-NeoX, with at least one layer.")


def site(model, hook: str = HOOK) -> torch.nn.Module:
    """The module at a hook point, named as in TransformerLens (see HOOKS): the activation is its output.

    For blocks.{i}.mlp.hook_post it is the MLP's last projection, and the activation is its *input*.

    Raises:
        ModelError: another name, or a block that the model does not have.
    """
    parts, found = layers(model), re.fullmatch(r"blocks\.(\d+)\.(.+)", hook)
    if found is None or found[2] not in HOOKS or int(found[1]) >= len(parts):
        raise ModelError(f"{hook!r} is no hook point of this model; use blocks.N.{{{', '.join(HOOKS)}}} with N from 0 "
                         f"to {len(parts) - 1}.")
    block = parts[int(found[1])]
    if found[2] == "hook_resid_post":
        return block
    if found[2] == "hook_mlp_out":
        return block.mlp
    return [part for part in block.mlp.modules() if getattr(part, "weight", torch.empty(0)).ndim == 2][-1]


@contextlib.contextmanager
def hooked(model, change, hook: str = HOOK):
    """Within the context, the activation x (batch, context, d) at `hook` becomes change(x), or stays if None."""
    def before(_, args):
        new = change(args[0])
        return None if new is None else (new.to(args[0].dtype), *args[1:])

    def after(_, __, output):
        x, rest = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        new = change(x)
        new = x if new is None else new.to(x.dtype)
        return new if rest is None else (new, *rest)

    module = site(model, hook)
    handle = (module.register_forward_pre_hook(before) if hook.endswith(".mlp.hook_post") else
              module.register_forward_hook(after))
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def activations(model, tokens: torch.Tensor, hook: str = HOOK) -> torch.Tensor:
    """Activations (batch, context, d) at `hook` for `tokens` (batch, context), in the dtype of computation."""
    kept = []
    with hooked(model, kept.append, hook), autocast():
        model.base_model(input_ids=tokens, use_cache=False)
    return kept[0]


@torch.inference_mode()
def sample(model, tokenizer, prompt: str, tokens: int, seed: int, temperature: float = 0.8) -> str:
    """`prompt` continued by `tokens` sampled tokens; the same seed gives the same text."""
    generator = torch.Generator().manual_seed(seed)
    ids = [0, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    for _ in range(tokens):
        window = torch.tensor([ids[-model.config.max_position_embeddings:]], device=model.device)
        logits = model(input_ids=window, use_cache=False).logits[0, -1].float().cpu()
        ids.append(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=generator).item())
    return tokenizer.decode(ids[1:])


def describe(model) -> dict:
    """Sizes of a model, for figures and tables."""
    config = model.config
    return dict(parameters=sum(p.numel() for p in model.parameters()), layers=config.num_hidden_layers,
                d_model=config.hidden_size, d_mlp=sum(site(model).weight.shape) - config.hidden_size,
                heads=config.num_attention_heads,
                kv_heads=getattr(config, "num_key_value_heads", config.num_attention_heads), vocab=config.vocab_size,
                context=config.max_position_embeddings)
