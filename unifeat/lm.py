"""The language model: a Mistral-architecture transformer, its training loop, its losses, its MLP activations."""

import contextlib
import hashlib
import math
from pathlib import Path

import numpy as np
import torch

from unifeat.errors import UnifeatError
from unifeat.profiles import Model

CHUNK = 1024  # rows of logits held at once; 1,024 x 4,096 in bf16 stays inside a core's caches


class ModelError(UnifeatError):
    """A model folder that is not one of ours, or not the one that was meant."""


def device() -> torch.device:
    """CUDA where there is a GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype() -> torch.dtype:
    """bfloat16 where the hardware multiplies it faster (CUDA Ampere and later, CPUs with AMX), else float32.

    A fixed rule and not a timing, so that two runs on one machine take the same path.
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float32
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


def autocast() -> contextlib.AbstractContextManager:
    """Matrix products in `compute_dtype`, everything else in float32."""
    dtype = compute_dtype()
    return torch.autocast(device().type, dtype, enabled=dtype != torch.float32)


def build(config: Model, vocab: int, context: int):
    """A randomly initialised MistralForCausalLM; the same seed gives the same weights."""
    from transformers import MistralConfig, MistralForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return MistralForCausalLM(MistralConfig(
            vocab_size=vocab, hidden_size=config.d_model, intermediate_size=config.d_mlp,
            num_hidden_layers=config.layers, num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads, max_position_embeddings=context, rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta}, sliding_window=None,
            tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, pad_token_id=None,
            attn_implementation=attention())).eval()


def attention() -> str:
    """Attention kernel: at 128 tokens torch's fused one is 5 times slower on a CPU than three plain products."""
    return "sdpa" if torch.cuda.is_available() else "eager"


def save(model, tokenizer, folder: Path) -> None:
    """Write the model and its tokenizer in Hugging Face layout (safetensors)."""
    _quiet()
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)


def load(folder: str | Path):
    """The causal language model in `folder` (Hugging Face layout, safetensors), in evaluation mode.

    Raises:
        ModelError: no such folder, missing or unreadable weights, or weights of another shape.
    """
    from transformers import AutoModelForCausalLM

    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no model (config.json is missing); give a folder in Hugging Face layout.")
    _quiet()
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32,
            attn_implementation=attention(), output_loading_info=True)
    except Exception as error:
        raise ModelError(f"The model in {folder} cannot be loaded ({str(error).strip().splitlines()[0]}); save it "
                         "again with save_pretrained, weights as safetensors.") from error
    if absent := sorted(info["missing_keys"]) + sorted(str(item) for item in info["mismatched_keys"]):
        raise ModelError(f"The model in {folder} lacks the tensor {absent[0]}; its weights file is incomplete.")
    return model.eval()


def _quiet() -> None:
    """No progress bars for files of a few megabytes."""
    from transformers.utils import logging

    logging.disable_progress_bar()


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
    model.to(device())
    for start in range(0, len(blocks), batch):
        tokens = torch.from_numpy(np.asarray(blocks[start:start + batch]).astype(np.int64)).to(device())
        with autocast():
            hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
            rows, targets = hidden[:, :-1].reshape(-1, hidden.shape[-1]), tokens[:, 1:].reshape(-1)
            for i in range(0, len(rows), CHUNK):
                logits = (rows[i:i + CHUNK] @ model.lm_head.weight.T).float()
                loss += torch.nn.functional.cross_entropy(logits, targets[i:i + CHUNK], reduction="sum").item()
                right += (logits.max(-1).indices == targets[i:i + CHUNK]).sum().item()
        count += len(targets)
        if token_bytes is not None:
            size += int(token_bytes[targets.cpu().numpy()].sum())
    out = dict(tokens=count, loss_nats=loss / count, accuracy=right / count)
    if token_bytes is not None:
        out |= dict(bytes=size, bits_per_byte=loss / math.log(2) / size)
    return out


def site(model, layer: int = 0) -> torch.nn.Module:
    """The module whose input is the MLP activation (TransformerLens: blocks.{layer}.mlp.hook_post)."""
    return model.model.layers[layer].mlp.down_proj


@contextlib.contextmanager
def hooked(model, change, layer: int = 0):
    """Within the context, the MLP activation x (batch, context, d_mlp) becomes change(x), or stays if None."""
    def hook(_, args):
        new = change(args[0])
        return None if new is None else (new.to(args[0].dtype), *args[1:])

    handle = site(model, layer).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def activations(model, tokens: torch.Tensor, layer: int = 0) -> torch.Tensor:
    """MLP activations (batch, context, d_mlp) of `tokens` (batch, context), in the dtype of computation."""
    kept = []
    with hooked(model, kept.append, layer), autocast():
        model.model(input_ids=tokens, use_cache=False)
    return kept[0]


@torch.inference_mode()
def sample(model, tokenizer, prompt: str, tokens: int, seed: int, temperature: float = 0.8) -> str:
    """`prompt` continued by `tokens` sampled tokens; the same seed gives the same text."""
    generator = torch.Generator().manual_seed(seed)
    ids = [0, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
    for _ in range(tokens):
        window = torch.tensor([ids[-model.config.max_position_embeddings:]])
        logits = model(input_ids=window, use_cache=False).logits[0, -1].float()
        ids.append(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=generator).item())
    return tokenizer.decode(ids[1:])


def describe(model) -> dict:
    """Sizes of a model, for figures and tables."""
    config = model.config
    return dict(parameters=sum(p.numel() for p in model.parameters()), layers=config.num_hidden_layers,
                d_model=config.hidden_size, d_mlp=config.intermediate_size, heads=config.num_attention_heads,
                kv_heads=config.num_key_value_heads, vocab=config.vocab_size,
                context=config.max_position_embeddings)
