"""Is our way of computing a model the model's own? Tried on a few tokens when it is loaded.

No list of architectures: what our code relies on is computed in both ways, in float32, and compared. Where the model's
own attention or head is right and ours is not, the model's is used. What cannot be right is refused in one sentence.
"""

import functools
import sys

import torch

from unifeat.lm import hooks
from unifeat.lm.attention import NAME, kernel
from unifeat.lm.hooks import ModelError
from unifeat.lm.logit_lens import final_norm
from unifeat.lm.way import Way, own_head
from unifeat.support.errors import reason

TOKENS = 24  # per row of the text that is tried
LOGITS = 50.0  # the head is compared at logits up to this, where soft caps show
TOLERANCE = 1e-3  # of the largest value
STEP = 0.1  # of an MLP's output: the change whose way is followed
WRITES = ("mlp.hook_post", "hook_mlp_out")  # hook points whose module writes into the residual stream
MATCH = 0.9  # least correlation of what the MLP writes with what reaches the residual stream


def prove(model, name: str):
    """The model, with the way that was proved for it (`way.way`), in evaluation mode. `name` is for messages.

    Compared with the model's own eager forward pass: logits and loss by our attention kernel or torch's, by the
    unembedding alone, and by the final norm and head from the last block's output. Later tokens must change no earlier
    logit, and a change at each MLP's last projection must reach the residual stream as a change of its output.

    Raises:
        ModelError: one of them differs, and the model's own part cannot take its place.
    """
    try:
        model.eval()
        with torch.no_grad():
            return _proved(model)
    except _Differs as differs:
        raise ModelError(f"The model {name} ({type(model).__name__}) cannot be used: {differs}; give a dense decoder "
                         "that reads from left to right, such as Llama, Mistral, GPT-2 or GPT-NeoX.") from differs


class _Differs(Exception):
    """What of the model is not as our code needs it."""


def _proved(model):
    norm, tokens = final_norm(model), _tokens(model)
    for block in hooks.layers(model):
        hooks.projection(block)
    own = _own(model, tokens)
    _causal(model, tokens, own.logits)
    _kernel(model, tokens, own.logits)
    seen = _watch(model, tokens)
    hidden = seen["hidden"]
    plain = _plain_head(model, hidden)
    if not plain and not _close(_tried(own_head, model, hidden.flatten(0, 1)), own.logits.flatten(0, 1)):
        raise _Differs("its logits are no function of its last hidden state alone")
    if not _close(_tried(norm, seen["last"]), hidden):
        raise _Differs("its last hidden state is not the final norm of its last block's output")
    model.unifeat_way = Way(plain, seen["gains"])
    _say(type(model).__name__, plain, model.config._attn_implementation)
    return model


def _tokens(model) -> torch.Tensor:
    """Two rows of tokens, longer than a short window of attention, not longer than the context."""
    window = getattr(model.config, "sliding_window", None) or 0
    length = min(max(TOKENS, window + 8 if window < 256 else 0), hooks.context(model))
    generator = torch.Generator().manual_seed(0)
    vocab = model.get_input_embeddings().weight.shape[0]
    return torch.randint(vocab // 8, vocab - vocab // 8, (2, length), generator=generator).to(model.device)


def _own(model, tokens: torch.Tensor):
    """The model's own output, and whether its loss is the mean next-token cross-entropy of its logits."""
    own = _tried(model, input_ids=tokens, labels=tokens, use_cache=False)
    logits = getattr(own, "logits", None)
    if logits is None or logits.shape[:2] != tokens.shape:
        raise _Differs("its forward pass gives no logits per token")
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
    if own.loss is not None and not _close(own.loss, loss):
        raise _Differs(f"its own loss is {own.loss.item():.4f} where the next-token cross-entropy of its logits is "
                       f"{loss.item():.4f}")
    return own


def _causal(model, tokens: torch.Tensor, logits: torch.Tensor) -> None:
    half = tokens.shape[1] // 2
    other = torch.cat([tokens[:, :half], tokens[:, half:].flip(1).roll(1, 0)], 1)
    changed = _tried(model, input_ids=other, use_cache=False).logits
    if not _close(changed[:, :half], logits[:, :half]):
        raise _Differs("a token's logits change with later tokens")


def _kernel(model, tokens: torch.Tensor, logits: torch.Tensor) -> None:
    """Set the quickest attention that gives the model's own logits."""
    if not model._can_set_attn_implementation():
        return
    for name in dict.fromkeys((kernel(), "sdpa", "eager")):
        try:
            model.set_attn_implementation(name)
            if _close(model(input_ids=tokens, use_cache=False).logits, logits):
                return
        except Exception:  # noqa: S110 (a kernel that this model cannot take: the next one)
            pass
    raise _Differs("its attention differs from run to run")


def _plain_head(model, hidden: torch.Tensor) -> bool:
    """Whether logits are the unembedding's weight times the last hidden state, at large logits too."""
    head = model.get_output_embeddings()
    if head is None or head.weight.shape[-1] != hidden.shape[-1]:
        raise _Differs("its last hidden state has another width than its unembedding")
    rows = hidden.flatten(0, 1)
    rows = torch.cat([rows, rows * LOGITS / (rows @ head.weight.T).abs().max()])
    return _close(_tried(own_head, model, rows), rows @ head.weight.T)


def _watch(model, tokens: torch.Tensor) -> dict:
    """One pass of the base model: hidden, its last hidden state; last, the last block's output; gains as in `Way`."""
    blocks, seen, handles = hooks.layers(model), dict(gains={}, ran=0, last=None), []
    for number, block in enumerate(blocks):
        points = {f"blocks.{number}.{point}" for point in WRITES}
        parts = {hook: hooks.hook_module(model, hook) for hook in points}
        handles.append(block.register_forward_hook(functools.partial(_written, seen, parts), with_kwargs=True))
    try:
        seen["hidden"] = _tried(model.base_model, input_ids=tokens, use_cache=False).last_hidden_state
    finally:
        for handle in handles:
            handle.remove()
    if seen["ran"] != len(blocks):
        raise _Differs(f"its {len(blocks)} blocks run {seen['ran']} times in a pass")
    return seen


def _written(seen: dict, parts: dict, block, args, options, output) -> None:
    """Run a block again with each of its `parts` {hook: module} changed: what of it reaches the block's output?"""
    if seen.get("again"):
        return
    seen |= dict(again=True, last=hooks.tensor(output), ran=seen["ran"] + 1)
    for hook, part in parts.items():
        steps = []
        handle = part.register_forward_hook(functools.partial(_moved, steps, seen["last"]))
        try:
            moved = hooks.tensor(block(*args, **options)) - seen["last"]
        finally:
            handle.remove()
        if len(steps) != 1:
            raise _Differs(f"its MLP's last projection runs {len(steps)} times in a block")
        gain = _gain(steps[0].view(moved.shape), moved)
        if gain is not None:
            seen["gains"][hook] = gain
    seen["again"] = False


def _moved(steps: list, like: torch.Tensor, _, __, output: torch.Tensor) -> torch.Tensor:
    """The output, a random step further; the step is kept."""
    if output.numel() != like.numel():
        raise _Differs("its MLP's last projection sees some of the tokens only (a mixture of experts?)")
    noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
    steps.append(STEP * output.std(-1, keepdim=True) * noise)
    return output + steps[-1]


def _gain(step: torch.Tensor, moved: torch.Tensor) -> torch.Tensor | None:
    """Factors g (d_model,) with moved = g step by least squares over tokens, both (batch, context, d_model).

    None where g is 1. A norm after the MLP has its gain over the mean length of what it sees.
    """
    if _close(moved, step, 2 * TOLERANCE):
        return None
    step, moved = step.flatten(0, 1), moved.flatten(0, 1)
    pair = torch.stack([step, moved])
    pair = pair / pair.norm(dim=-1, keepdim=True)  # a norm divides each token's by a number of its own
    if not torch.corrcoef(torch.stack([_fit(*pair) * pair[0], pair[1]]).flatten(1))[0, 1] > MATCH:
        raise _Differs("what its MLP's last projection gives does not reach the residual stream")
    return _fit(step, moved)


def _fit(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Factors g (d,) with y = g x by least squares over rows, both (n, d)."""
    return (x * y).sum(0) / x.square().sum(0)


def _tried(call, *args, **kwargs):
    try:
        return call(*args, **kwargs)
    except _Differs:
        raise
    except Exception as error:
        raise _Differs(f"its forward pass fails ({reason(error)[:200]})") from error


def _close(a: torch.Tensor, b: torch.Tensor, tolerance: float = TOLERANCE) -> bool:
    """Whether two tensors of finite numbers are equal up to float32's rounding."""
    return bool(a.shape == b.shape and (a - b).abs().max() <= tolerance * b.abs().max() + 1e-6)


@functools.cache
def _say(kind: str, plain: bool, used: str) -> None:
    """Tell once per architecture what is computed by the model's own, slower code."""
    parts = ([] if used in (NAME, "sdpa") else ["attention"]) + ([] if plain else ["head"])
    if parts:
        print(f"{kind} is computed with its own {' and '.join(parts)}, which is slower than ours.", file=sys.stderr,
              flush=True)
