"""What the explorer shows of a lineage's features: contexts, matches, densities, effects, explanations. One stage.

Labels, colors and shares are not in it: `page.dressed` adds them, so that a new color computes nothing again.
"""

import base64
import json
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from unifeat.autointerp import groups, rules
from unifeat.explorer import encoding
from unifeat.lineage.run import Run
from unifeat.lm import logit_lens
from unifeat.sae import features
from unifeat.text import bpe

WIDTH = 24  # tokens of a context
TOP, QUANTILES = 3, (0.75, 0.5, 0.25)  # contexts: the strongest of as many documents, and quantiles of what fires
TOKENS = 8  # promoted and suppressed
MOST = 8192  # features of all models together; a model with more than its part is thinned out evenly over density
NEAR = 3  # models at least whose activations stand beside a feature's own


def data(run: Run) -> dict:
    """Every model's features with their contexts and matches, from the store or computed now."""
    p = run.lineage
    inputs = [run.corpus_stage, *(run.feature_stage(name) for name in p.names)]
    made = run.stage("explorer", lambda folder: (folder / "data.json").write_text(json.dumps(_collect(run))),
                     [p.comparison, groups.seeds(run), p.names, p.domains, p.edges], inputs)
    return json.loads((made.folder / "data.json").read_text())


def near(p, name: str) -> set[str]:
    """Models whose activations stand beside those of `name`'s features: parents, children, and the next along the
    edges until they are NEAR."""
    steps, reached = {name: 0}, [name]
    for one in reached:
        for other in (*p.parents(one), *p.children(one)):
            if other not in steps:
                steps[other] = steps[one] + 1
                reached.append(other)
    others = sorted((other for other in p.names if other != name), key=lambda other: steps.get(other, len(p.names)))
    return set(others[:max(NEAR, list(steps.values()).count(1))])


@dataclass(frozen=True, eq=False)
class _Read:
    """What all features are read from."""

    text: dict  # the comparison text
    at: np.ndarray  # number of the token at a block and position, -1 for a special token
    columns: dict  # {model: activations (tokens, width), CSC}
    peaks: dict  # {model: greatest activation of each feature}
    tokens: np.ndarray  # of each domain


def _read(run: Run, seeds: dict) -> _Read:
    text, names = run.comparison_text, run.lineage.names
    at = np.full(text["blocks"].shape, -1)
    at[text["block"], text["position"]] = np.arange(len(text["block"]))
    columns = {name: sparse.csc_matrix(run.features(name, seeds[name])) for name in names}
    return _Read(text, at, columns, {name: np.asarray(f.max(0).todense()).ravel() for name, f in columns.items()},
                 np.bincount(text["domain"], minlength=len(run.lineage.domains)))


def _collect(run: Run) -> dict:
    p, text, seeds = run.lineage, run.comparison_text, groups.seeds(run)
    read, models = _read(run, seeds), {}
    for name in p.names:
        ids, matches = _shown(run, name), _matches(run, name, seeds)
        promoted, suppressed = _effects(run, name, ids)
        lexical = groups.lexical(run, name).set_index("feature")
        rows = [_row(j, name, read, matches, near(p, name)) for j in ids]
        for row, up, down in zip(rows, promoted.tolist(), suppressed.tolist(), strict=True):
            words = lexical.loc[row["id"]]
            row |= dict(up=up, down=down, told=[["lexical", words["explanation"], number(words["simulation"]),
                                                 number(words["detection"])]])
        models[name] = dict(seed=seeds[name], live=len(run.live(name, seeds[name])), features=rows)
    vocab = [_visible(bpe.token_text(run.corpus.tokenizer, i)) for i in range(len(run.corpus.tokenizer))]
    domain = np.zeros(len(text["blocks"]), dtype=int)
    domain[text["block"]] = text["domain"]
    return dict(width=WIDTH, context=int(text["blocks"].shape[1]), vocab=vocab, block_domain=domain.tolist(),
                models=models,
                blocks=base64.b64encode(text["blocks"].astype("<u2" if len(vocab) <= 1 << 16 else "<u4").tobytes())
                .decode())


def _shown(run: Run, name: str) -> np.ndarray:
    """Features of a model that have a page: the live ones, thinned out evenly over density beyond its part of MOST."""
    seed, most = groups.seeds(run)[name], max(1, MOST // len(run.lineage.names))
    live = run.live(name, seed)
    if len(live) <= most:
        return live
    order = np.argsort(features.fires(run.features(name, seed))[live], kind="stable")
    return np.sort(live[order[np.linspace(0, len(live) - 1, most).round().astype(int)]])


def _matches(run: Run, name: str, seeds: dict) -> dict:
    """{other model or "twin": {feature: (best match, r, persists one-to-one)}} for the features of a model."""
    out, names = {}, run.lineage.names
    for other in names:
        if other != name:
            first, second = sorted((name, other), key=names.index)
            one = run.compare((first, seeds[first]), (second, seeds[second]))
            out[other] = _partners(one, 0 if first == name else 1, run.lineage.comparison.tau)
    twins = [seed for seed in run.lineage.sae.seeds if seed != seeds[name]]
    if twins:
        a, b = sorted((seeds[name], twins[0]), key=run.lineage.sae.seeds.index)
        one = run.compare((name, a), (name, b))
        out["twin"] = _partners(one, 0 if a == seeds[name] else 1, run.lineage.comparison.tau)
    return out


def _partners(one, side: int, tau: float) -> dict:
    mine, theirs = (one.live_a, one.live_b) if side == 0 else (one.live_b, one.live_a)
    if not len(theirs):
        return {}
    key = "ab"[side]
    return {int(j): (int(theirs[best]), float(r), bool(kept)) for j, best, r, kept in zip(
        mine, one.table[f"best_of_{key}"], one.table[f"r_of_{key}"], one.kept("one_to_one", tau)[side], strict=True)}


def _row(j: int, name: str, read: _Read, matches: dict, beside: set[str]) -> dict:
    """A feature. Its match in a model of `beside` is [partner, r, one-to-one, scatter, peak], in another the first
    three; `shade` holds its own activations and those of the long matches, in their order."""
    mine, top = read.columns[name], read.peaks[name][j]
    rows, values = rules.column(mine, j)
    context = read.at.shape[1]
    places, tops = _contexts(rows, values, read.text, context)
    window = np.array([read.at[block, start:start + WIDTH] for block, start, _ in places]).ravel()
    shades, others = [encoding.shade(mine, j, window, top)], {}
    for other, partners in matches.items():
        found = partners.get(int(j))
        if found is None:
            continue
        others[other] = [found[0], round(found[1], 3), int(found[2])]
        if other in beside:
            theirs, peak = read.columns[other], read.peaks[other][found[0]]
            shades.append(encoding.shade(theirs, found[0], window, peak))
            others[other] += [encoding.scatter(mine, j, top, theirs, found[0], peak), round(float(peak), 2)]
    fires = np.bincount(read.text["domain"][rows[values > 0]], minlength=len(read.tokens))
    return dict(id=int(j), max=round(float(top), 2), fires=int(fires.sum()),
                density=[float(f"{share:.2e}") for share in fires / np.maximum(read.tokens, 1)],
                at=[int(block) * context + int(start) for block, start, _ in places],
                peak=[int(peak) for *_, peak in places], tops=tops, shade=shades, match=others)


def _contexts(rows, values, text, context) -> tuple[list[tuple[int, int, int]], int]:
    """(block, start, place of the peak in the window) of the strongest and of the quantile contexts, and how many
    are of the first kind."""
    order = np.lexsort((rows, -values))
    chosen, seen = [], set()
    for k in order[:200]:
        if len(chosen) < TOP and text["document"][rows[k]] not in seen:
            seen.add(text["document"][rows[k]])
            chosen.append(k)
    tops = len(chosen)
    chosen += [order[int((1 - q) * (len(order) - 1))] for q in QUANTILES]
    out = []
    for k in dict.fromkeys(chosen):
        block, position = text["block"][rows[k]], text["position"][rows[k]]
        start = int(np.clip(position - WIDTH + 6, 0, max(0, context - WIDTH)))
        out.append((block, start, position - start))
    return out, tops


def _effects(run: Run, name: str, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (features, TOKENS) whose logits each feature raises and lowers most, directly through the residual stream.

    The decoder row goes through the MLP's last projection, the final norm's gain and the unembedding; the norm's
    division by the length of the residual stream is a positive factor and changes no order.
    """
    one, model = run.sae(name, groups.seeds(run)[name]), run.model(name)
    effect = logit_lens.logits(model, logit_lens.residual(model, one.w_dec[ids].float(), one.hook)).detach()
    effect = effect[:, :len(run.corpus.tokenizer)]  # a model's vocabulary may be padded
    effect[:, 0] = 0  # the special token is nothing to read
    order = effect.argsort(dim=1, stable=True).numpy()
    return order[:, ::-1][:, :TOKENS], order[:, :TOKENS]


def _visible(token: str | bytes) -> str:
    r"""A token as the page shows it: line ends as a sign, bytes that are part of a character as ⟨0xNN⟩."""
    if isinstance(token, bytes):
        return "".join(f"⟨0x{byte:02X}⟩" for byte in token)
    return token.replace("\r", "␍").replace("\n", "↵").replace("\t", "→")


def number(value) -> float | None:
    """A score as JSON has it: three digits, None for what is not finite."""
    return round(float(value), 3) if np.isfinite(value) else None
