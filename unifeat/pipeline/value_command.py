"""`unifeat value train` and `unifeat value apply`: a value network from folders of models and a text of yours."""

import argparse
from pathlib import Path

import numpy as np
import torch

from unifeat import lm
from unifeat.lineage.settings import Training
from unifeat.lm import tokenizers, value_network, vocabulary_map
from unifeat.lm.hooks import ModelError, context
from unifeat.text import files
from unifeat.text.files import CorpusError

MAPPED = 400  # documents whose two tokenisations are aligned, or their first PIECE characters
PIECE = 400
HELD_OUT = 20  # of so many blocks one is kept back
NEW = 60  # tokens after a prompt


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of both commands."""
    adding = parser.add_subparsers(dest="step", required=True)
    make = adding.add_parser("train", help="train a value network beside a frozen model")
    make.add_argument("frozen", type=Path, help="the model beside which it learns, in Hugging Face layout")
    make.add_argument("--start", type=Path, help="the model that it begins as (default: that one); smaller is faster")
    make.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="a new folder")
    make.add_argument("--scheme", default="residual", choices=value_network.SCHEMES)
    make.add_argument("--head", default="zero", choices=value_network.STARTS, help="of zeros (default), or as it is")
    make.add_argument("--norm", type=float, default=0.1, help="weight of the norm of its logits (default 0.1)")
    make.add_argument("--tokens", type=int, default=0, help="to train on (default: the text once)")
    make.add_argument("--lr", type=float, default=2e-3, help="learning rate (default 0.002)")
    make.add_argument("--batch", type=int, default=16, help="blocks per step")
    make.add_argument("--seed", type=int, default=0)
    make.set_defaults(func=train)
    use = adding.add_parser("apply", help="the loss of a model on a text, alone and with a value network")
    use.add_argument("value", type=Path, help="its folder")
    use.add_argument("--model", required=True, type=Path, metavar="FOLDER", help="any causal model")
    use.add_argument("--map", action="store_true", help="carry it over to a model of another tokenizer")
    use.add_argument("--prompt", default="", help="a text to continue with both")
    use.set_defaults(func=apply)
    for command in (make, use):
        command.add_argument("--text", required=True, type=Path, help="a file or folder of texts")
        command.add_argument("--context", type=int, default=256, help="tokens of a block")


def train(options: argparse.Namespace) -> int:
    """Train a value network and save it; the loss on every HELD_OUT-th block is told before and after.

    Raises:
        ModelError, CorpusError: bad models, a folder in use, settings out of range, too little text.
    """
    if options.to.exists() and (not options.to.is_dir() or any(options.to.iterdir())):
        raise ModelError(f"{options.to} is not empty; name a new folder, so that nothing of yours is overwritten.")
    if options.lr <= 0 or options.batch < 1 or options.tokens < 0:
        raise ModelError(f"--lr {options.lr}, --batch {options.batch} and --tokens {options.tokens} must be above 0.")
    base, begin = lm.load(options.frozen), lm.load(options.start or options.frozen)
    if options.start and not tokenizers.alike(options.frozen, options.start):
        raise ModelError(f"{options.start} has another tokenizer than {options.frozen}; begin from a model of the same "
                         "one.")
    value = value_network.start(begin, options.scheme, options.head)
    tokenizer = tokenizers.read(options.frozen)
    size = min(options.context, context(base), context(begin))
    blocks = _blocks(tokenizer, _texts(options.text), size, options.text, least=2)
    held = blocks[::HELD_OUT]
    blocks = np.delete(blocks, np.s_[::HELD_OUT], axis=0)
    tokens = max(options.tokens or blocks.size, options.batch * size)
    config = Training(tokens=tokens, batch=options.batch, lr=options.lr, final_lr=0.02, warmup=10, weight_decay=0.1,
                      beta2=0.98, clip=1.0, evaluations=0, seed=options.seed, text=("text",), weights=(1.0,))
    value_network.train(base, value, {"text": blocks}, config, options.norm)
    value_network.save(value, tokenizer, options.to, f"Trained beside {options.frozen.name} on {options.text.name}: "
                       f"{tokens:,} tokens, norm {options.norm:g}.")
    print(f"{options.to} holds a value network ({options.scheme}). {_losses(base, value, held)}")
    return 0


def apply(options: argparse.Namespace) -> int:
    """Tell a model's loss on a text without and with a value network, and continue a prompt with both.

    Raises:
        ModelError, CorpusError: bad models, another tokenizer without --map, too little text.
    """
    value, model, texts = value_network.load(options.value), lm.load(options.model), _texts(options.text)
    own, tokenizer = tokenizers.read(options.value), tokenizers.read(options.model)
    if options.map:
        value = vocabulary_map.translated(value, own, tokenizer, [text[:PIECE] for text in texts[:MAPPED]])
    elif not tokenizers.alike(options.value, options.model):
        raise ModelError(f"{options.value} and {options.model} have different tokenizers; --map carries the value "
                         "network over.")
    size = min(options.context, context(model), context(value.network))
    blocks = _blocks(tokenizer, texts, size, options.text)
    print(_losses(model, value, blocks[::max(1, len(blocks) // 50)]))
    if options.prompt:
        from unifeat.lm.value_logits import ValueLogits  # it imports transformers, which takes seconds

        ids = torch.tensor([tokenizer(options.prompt, add_special_tokens=False)["input_ids"] or [_opening(tokenizer)]])
        new = max(1, min(NEW, size - ids.shape[1]))
        for name, processors in (("alone", []), ("with it", [ValueLogits(value, base=model)])):
            out = model.generate(ids, max_new_tokens=new, do_sample=False, pad_token_id=0, logits_processor=processors)
            print(f"{name}: {tokenizer.decode(out[0])}")
    return 0


def _losses(model, value, blocks: np.ndarray) -> str:
    alone, both = (value_network.evaluate(model, one, blocks)["loss_nats"] for one in (None, value))
    return f"Loss {both:.3f} nats a token with it, {alone:.3f} without ({blocks.size:,} tokens)."


def _texts(path: Path) -> list[str]:
    return [text for one in files.inside("text", path) for text in files.read(one) if text.strip()]


def _opening(tokenizer) -> int:
    return next((number for number in (tokenizer.bos_token_id, tokenizer.eos_token_id) if number is not None), 0)


def _blocks(tokenizer, texts: list[str], size: int, path: Path, least: int = 1) -> np.ndarray:
    """The texts' tokens as blocks (n, size), each text behind the opening token.

    Raises:
        CorpusError: fewer than `least` blocks.
    """
    ids = [number for text in texts for number in (_opening(tokenizer),
                                                   *tokenizer(text, add_special_tokens=False)["input_ids"])]
    count = len(ids) // size
    if count < least:
        raise CorpusError(f"{path} has {len(ids)} tokens, fewer than {least} blocks of {size}; give more text or a "
                          "smaller --context.")
    return np.array(ids[:count * size], dtype=np.int64).reshape(count, size)
