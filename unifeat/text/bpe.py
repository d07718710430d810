"""Tokens: a byte-level BPE tokenizer, texts packed into streams of its numbers, and what each number stands for."""

import re

import numpy as np
from tqdm import trange

from unifeat.text.files import SPECIAL

WORD = re.compile(r"\S{10000}")  # training takes time with the square of a word's length
EOS = 0  # number of the special token, which opens every document


def train(texts: list[str], vocab: int):
    """Byte-level BPE (tokenizers.Tokenizer) of at most `vocab` tokens; digits stand alone; SPECIAL is 0."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=[SPECIAL], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator((piece for text in texts for piece in _cut(text)), trainer)
    return tokenizer


def _cut(text: str) -> list[str]:
    """A text, cut wherever WORD is full; nearly every text comes back whole."""
    ends = [found.end() for found in WORD.finditer(text)]
    return [text[a:b] for a, b in zip([0, *ends], [*ends, None], strict=True)]


def wrap(tokenizer, context: int):
    """The tokenizer as transformers.PreTrainedTokenizerFast, SPECIAL being its bos, eos and pad token."""
    from transformers import PreTrainedTokenizerFast

    special = dict(bos_token=SPECIAL, eos_token=SPECIAL, pad_token=SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context,
                                   clean_up_tokenization_spaces=False, **special)


def pack(tokenizer, texts: list[str]) -> tuple[np.ndarray, list[int]]:
    """EOS text EOS text ... as one (tokens,) uint16 or uint32 array, and each text's tokens with its EOS.

    tokenizer: tokenizers.Tokenizer. SPECIAL inside a text is spelled out in bytes, never token 0.
    """
    tokenizer.encode_special_tokens = True
    parts, kind = [], np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32
    for start in trange(0, len(texts), 256, desc="tokens", unit_scale=256, unit="doc", delay=5, leave=False):
        for encoding in tokenizer.encode_batch_fast(texts[start:start + 256], add_special_tokens=False):
            parts.append(np.array([EOS, *encoding.ids], kind))
    return np.concatenate(parts), [len(part) for part in parts]


def token_bytes(tokenizer) -> np.ndarray:
    """Bytes of text that each token stands for, 0 for the special token: (vocab,) int64.

    In byte-level BPE every character of a token's name stands for one byte.
    """
    sizes = np.zeros(len(tokenizer), np.int64)
    for name, number in tokenizer.get_vocab().items():
        sizes[number] = 0 if number == EOS else len(name)
    return sizes


def token_text(tokenizer, number: int) -> str | bytes:
    """The text of a token, or its bytes where they are part of a character; the special token by its name."""
    name = tokenizer.convert_ids_to_tokens(int(number))
    if number == EOS:
        return name
    data = bytes(BYTES[char] for char in name)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


# Byte-level BPE writes a printable byte as the character of that number, and the others in order from 256 on.
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = {chr(byte): byte for byte in PRINTABLE}
BYTES |= {chr(256 + n): byte for n, byte in enumerate(sorted(set(range(256)) - set(PRINTABLE)))}
