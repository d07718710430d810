"""A value network in `transformers`' generate: its logits added to those of any model of the same vocabulary."""

from pathlib import Path

import torch
from transformers import LogitsProcessor

from unifeat.lm import value_network
from unifeat.lm.value_network import Value
from unifeat.lm.vocabulary_map import Translated


class ValueLogits(LogitsProcessor):
    """Adds z_D to every next token's scores: greedy, sampled or by beams, batched, with a key-value cache of its own.

        model.generate(**inputs, logits_processor=[ValueLogits("folder", base=model)])

    value: a value network, one `Translated` for the model's vocabulary, or a folder; base: the model that generates,
    which cascade needs for the prompt's logits;
    pad: the token that fills prompts on the left, None where all are of one length. What comes back is normalised
    (log softmax), as beams need it; sampling does not notice.
    """

    def __init__(self, value: Value | Translated | str | Path, base=None, pad: int | None = None):
        self.value = value if isinstance(value, (Value, Translated)) else value_network.load(value)
        self.base, self.pad, self.seen, self.cache = base, pad, None, None
        if base is not None:
            value_network.check(base, self.value)
        self.value.network.eval()

    @torch.no_grad()
    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores (rows, vocab) of the next token after input_ids (rows, length)."""
        mask = torch.ones_like(input_ids) if self.pad is None else (input_ids != self.pad).long().cummax(1).values
        if isinstance(self.value, Translated):  # its tokens are others at every step, so nothing is kept
            delta = self.value.last(row[kept].tolist() for row, kept in zip(input_ids, mask.bool(), strict=True))
            return torch.log_softmax(scores.float() + delta, -1)
        places = (mask.cumsum(1) - 1).clamp_min(0)
        new = input_ids
        if self._goes_on(input_ids):
            new, places = input_ids[:, -1:], places[:, -1:]
        else:
            self.cache = None
        before = None
        if self.value.scheme == "cascade":
            before = scores[:, None]  # softmax does not see what normalising them took away
            if new.shape[1] > 1:
                if self.base is None:
                    raise value_network.ModelError("A value network in cascade reads the base's logits on the prompt; "
                                                   "give ValueLogits the base model.")
                before = self.base(input_ids=new, attention_mask=mask, position_ids=places).logits
        out = self.value.output(new, before, attention_mask=mask, position_ids=places, past_key_values=self.cache,
                                use_cache=True)
        self.seen, self.cache = input_ids.clone(), out.past_key_values
        return torch.log_softmax(scores.float() + out.logits[:, -1].float(), -1)

    def _goes_on(self, input_ids: torch.Tensor) -> bool:
        """Whether every row is a row of the last call and one token; the cache then follows, as beams change places."""
        if self.seen is None or input_ids.shape[1] != self.seen.shape[1] + 1:
            return False
        same = (input_ids[:, None, :-1] == self.seen[None]).all(-1)  # (rows, rows before)
        if not same.any(1).all():
            return False
        order = same.int().argmax(1)
        if len(order) != len(self.seen) or (order != torch.arange(len(order), device=order.device)).any():
            self.cache.reorder_cache(order)
        return True
