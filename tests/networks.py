"""Tiny models of four architectures with their tokenizers, and the authors' checkpoints as they lie on the hub."""

import functools
import json
from pathlib import Path

import tiny
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import GPT2Config, GPTNeoXConfig, LlamaConfig, MistralConfig, PreTrainedTokenizerFast

from unifeat import merging
from unifeat.lineage import read
from unifeat.text import bpe

HIDDEN = dict(vocab_size=300, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=24)
GATED = dict(**HIDDEN, intermediate_size=24, num_key_value_heads=1)
CONFIGS = {"mistral": MistralConfig(**GATED, bos_token_id=1, eos_token_id=2), "llama": LlamaConfig(**GATED),
           "gpt2": GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=2, n_positions=24, bos_token_id=289,
                              eos_token_id=289),
           "gpt_neox": GPTNeoXConfig(**HIDDEN, intermediate_size=24)}
# The authors' config.json and tokenizer_config.json, key by key, at tiny widths; the merge was saved in float16. Their
# tokenizers declare no bos or eos, and special_tokens_map.json is {}.
AUTHORS = dict(
    architectures=["MistralForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu",
    hidden_size=32, initializer_range=0.02, intermediate_size=64, max_position_embeddings=2048, model_type="mistral",
    num_attention_heads=4, num_hidden_layers=1, num_key_value_heads=2, rms_norm_eps=1e-06, rope_theta=10000.0,
    sliding_window=4096, tie_word_embeddings=False, torch_dtype="float32", transformers_version="4.38.1",
    use_cache=True, vocab_size=300)
AUTHORS_TOKENIZER = dict(
    added_tokens_decoder={str(i): dict(content=token, lstrip=False, normalized=False, rstrip=False, single_word=False,
                                       special=True) for i, token in enumerate(("<unk>", "<s>", "</s>"))},
    clean_up_tokenization_spaces=True, model_max_length=1000000000000000019884624838656,
    tokenizer_class="PreTrainedTokenizerFast")
RELEASED = {name: one.given for name, one in read("released").models.items()}  # hub names by the lineage's own


@functools.cache
def pieces():
    """A tokenizer like Mistral's: <unk> <s> </s>, bytes as <0xNN>, spaces as ▁, the first one put before the text."""
    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    documents = [text.replace("é", "") for many in tiny.texts().values() for text in many]
    tokenizer.train_from_iterator(documents, trainers.BpeTrainer(
        vocab_size=300, special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))], show_progress=False))
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]  # the bytes are none
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>",
                                   eos_token="</s>", unk_token="<unk>")


@functools.cache
def byte_level():
    """A tokenizer like GPT-2's: bytes, the special token last."""
    trained = bpe.train([t for many in tiny.texts().values() for t in many], 290)
    state = json.loads(trained.to_str())
    names = sorted(state["model"]["vocab"], key=state["model"]["vocab"].get)
    state["model"]["vocab"] = {name: i for i, name in enumerate([*names[1:], names[0]])}
    state["added_tokens"][0]["id"] = len(names) - 1
    return bpe.wrap(Tokenizer.from_str(json.dumps(state)), 24)


def tokenizer(kind: str):
    """The tokenizer of an architecture in CONFIGS."""
    return byte_level() if kind.startswith("gpt") else pieces()


def network(config, seed=0, dtype=torch.float32):
    """Random weights; biases, which begin at zero, too."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    return model.to(dtype)


def put(folder: Path, model, tokens) -> Path:
    """The model and its tokenizer, saved in `folder`."""
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def released(root: Path) -> Path:
    """The authors' four checkpoints in `root` under their hub names, of tiny width; the merge is SLERP at 0.58, in
    float16 and one shard."""
    states = {}
    for seed, (name, hub_name) in enumerate(RELEASED.items()):
        folder, model = root / hub_name, network(MistralConfig(**AUTHORS), seed)
        states[name] = model.state_dict()
        merge = seed == len(RELEASED) - 1
        if merge:
            model.load_state_dict(merging.slerp(states["lua"], states["stories"], 0.58))
            model = model.half()
        put(folder, model, pieces())
        (folder / "config.json").write_text(json.dumps(AUTHORS | dict(torch_dtype="float16" if merge else "float32")))
        (folder / "tokenizer_config.json").write_text(json.dumps(AUTHORS_TOKENIZER))
        (folder / "special_tokens_map.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / (shard := "model-00001-of-00001.safetensors"))
    (folder / "model.safetensors.index.json").write_text(json.dumps(dict(
        metadata={}, weight_map=dict.fromkeys(states["merged"], shard))))
    return root


def local(root: Path) -> str:
    """TOML of the released lineage's models as the folders under `root`."""
    p, out = read("released"), []
    for name, one in p.models.items():
        above = f'parent = "{one.parent}"\n' if one.parent else ""
        above += f"parents = {json.dumps(one.parents)}\n" if one.parents else ""
        out.append(f'[models.{name}]\ngiven = "{root / one.given}"\ntext = {json.dumps(one.text)}\n{above}')
    return "\n".join(out)
