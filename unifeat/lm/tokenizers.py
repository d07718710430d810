"""Tokenizers in other people's folders: read, and compared by what they do."""

import functools
from pathlib import Path

from unifeat.lm.hooks import ModelError
from unifeat.support import pretrained
from unifeat.support.errors import reason

PROBE = ("It's 1,234.50 days, isn't it?  We'll see:\tYES!\r\n\n\n  def f(x_1, *y) -> int:\n        return x**2 + 0xFF\n"
         "local t = {['a'] = 1}; -- naïve café, nai\u0308ve ﬁ ² Ⅳ Å Straße ИМЯ 東京 مرحبا 🙂👍🏽 \u00a0\u200b\u3000<s>")


@functools.cache
def read(folder: Path):
    """The tokenizer in `folder`, as transformers has it.

    Raises:
        ModelError: it cannot be read, or has no form in the tokenizers library.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else AutoTokenizer
    try:
        found = pretrained.load(kind, folder)
        found.backend_tokenizer.no_truncation()
    except Exception as error:
        raise ModelError(f"The tokenizer in {folder} cannot be read ({reason(error)}); save it again with "
                         "save_pretrained.") from error
    return found


def names(folder: Path) -> list[str]:
    """Names of the tokens of the tokenizer in `folder`, by their numbers."""
    numbers = read(folder).get_vocab()
    return sorted(numbers, key=numbers.get)


def alike(folder: Path, other: Path) -> bool:
    """Whether two tokenizers do the same: their tokens have the same numbers, and text becomes the same tokens.

    Their files may differ, as those of one tokenizer saved by two versions of a library do. The text is PROBE and the
    text of every token, alone and in a row.
    """
    one, two = (read(path).backend_tokenizer for path in (folder, other))
    if read(folder).get_vocab() != read(other).get_vocab():
        return False
    if one.to_str() == two.to_str():
        return True
    alone = one.decode_batch([[i] for i in range(len(names(folder)))], skip_special_tokens=False)
    texts = [PROBE, PROBE.upper(), *alone, " ".join(alone), "".join(alone)]
    first, second = (tokenizer.encode_batch(texts, add_special_tokens=False) for tokenizer in (one, two))
    return [found.ids for found in first] == [found.ids for found in second]
