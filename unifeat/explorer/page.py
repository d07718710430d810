"""The feature explorer: every live feature of four SAEs as data, and one offline HTML page around it.

    explorer.write(run, run.figures / "explorer.html")

Of each model the SAE that `explanations.seeds` names is shown. A feature comes with contexts, its best match in the
other models and in a seed twin, density by domain, logit effect, explanations and scores. Activations are kept as
`digits`. A page above LIMIT is made smaller by leaving out contexts, the weakest of every feature first, and says so.
"""

import base64
import json
from pathlib import Path

import numpy as np
from scipy import sparse

from unifeat.autointerp import groups, rules
from unifeat.explorer import encoding
from unifeat.lineage.run import Run
from unifeat.lineage.settings import DOMAINS, MODELS
from unifeat.lm import logit_lens
from unifeat.sae import features
from unifeat.support import paths, store
from unifeat.support.errors import UnifeatError
from unifeat.text import bpe

TEMPLATE = Path(__file__).with_name("explorer.html")
LIMIT = 15_000_000  # bytes of the page
WIDTH = 24  # tokens of a context
TOP, QUANTILES = 3, (0.75, 0.5, 0.25)  # contexts: the strongest of as many documents, and quantiles of what fires
TOKENS = 8  # promoted and suppressed
MOST = 2048  # features of a model; more are thinned out evenly over their density


def write(run: Run, path: str | Path, frames: dict | None = None, limit: int = LIMIT) -> str:
    """Write the page for `run`; returns a line that says where it is, its size, and what was left out to keep it small.

    frames: explanations to show before the lexical ones, as `explainers.explained` gives them.

    Raises:
        UnifeatError: with one context per feature it would still be larger than `limit` bytes.
    """
    found = told(data(run), frames or {})
    for contexts in range(TOP + len(QUANTILES), 0, -1):
        page = render(thinned(found, contexts))
        if len(page) <= limit:
            break
    else:
        raise UnifeatError(f"The explorer of profile {run.lineage.name} takes {len(page) / 1e6:.1f} MB even with one "
                           f"context per feature, more than {limit / 1e6:.1f} MB; lower MOST in unifeat/explorer.py.")
    store.write_bytes(Path(path), page)
    less = "" if contexts == TOP + len(QUANTILES) else (
        f", {contexts} instead of {TOP + len(QUANTILES)} contexts per feature to stay under {limit / 1e6:.0f} MB")
    return f"{paths.relative(Path(path))}, {len(page) / 1e6:.0f} MB{less}"


def told(found: dict, frames: dict) -> dict:
    """The data with the explanations of `frames` ({model: frame}) before the lexical ones of the same features."""
    models = {}
    for name, model in found["models"].items():
        rows = {}
        if name in frames and (frames[name]["explainer"] != "lexical").any():
            rows = {row.feature: [row.explainer, row.explanation, _number(row.simulation), _number(row.detection)]
                    for row in frames[name].itertuples()}
        models[name] = model | dict(features=[f | dict(told=[rows[f["id"]], *f["told"]]) if f["id"] in rows else f
                                              for f in model["features"]])
    return found | dict(models=models)


def thinned(found: dict, contexts: int) -> dict:
    """The data with at most `contexts` of each feature; they stand strongest first."""
    def short(f):
        return f | dict(at=f["at"][:contexts], peak=f["peak"][:contexts], tops=min(f["tops"], contexts),
                        shade=[one[:contexts * found["width"]] for one in f["shade"]])

    return found | dict(models={name: model | dict(features=[short(f) for f in model["features"]])
                                for name, model in found["models"].items()})


def render(found: dict) -> bytes:
    """The page around the data. No text of it can end its script element: "<" is written as an escape."""
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    for char, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u2028", "\\u2028"),
                          ("\u2029", "\\u2029")):
        text = text.replace(char, escaped)
    return TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", text).encode("utf-8", "backslashreplace")


def data(run: Run) -> dict:
    """What the page shows, from the store or computed now."""
    from unifeat.explorer import page

    inputs = [run.corpus_stage, *(run.feature_stage(name) for name in MODELS)]
    made = run._make("explorer", lambda folder: (folder / "data.json").write_text(json.dumps(_collect(run))),
                     [run.lineage.comparison, groups.seeds(run)], inputs,
                     (page, encoding, groups, rules, logit_lens))
    return json.loads((made.folder / "data.json").read_text())


def _collect(run: Run) -> dict:
    probe, seeds = run.comparison_text, groups.seeds(run)
    at = np.full(probe["blocks"].shape, -1)
    at[probe["block"], probe["position"]] = np.arange(len(probe["block"]))
    columns = {name: sparse.csc_matrix(run.features(name, seeds[name])) for name in MODELS}
    peaks = {name: np.asarray(f.max(0).todense()).ravel() for name, f in columns.items()}
    ids = {name: _shown(run, name) for name in MODELS}
    matches = {name: _matches(run, name, seeds) for name in MODELS}
    domain_tokens = np.bincount(probe["domain"], minlength=len(DOMAINS))
    models = {}
    for name in MODELS:
        promoted, suppressed = _effects(run, name, ids[name])
        lexical = groups.lexical(run, name).set_index("feature")
        rows = [_row(j, name, columns, peaks, matches[name], probe, at, domain_tokens) for j in ids[name]]
        for row, up, down in zip(rows, promoted.tolist(), suppressed.tolist(), strict=True):
            words = lexical.loc[row["id"]]
            row |= dict(up=up, down=down, told=[["lexical", words["explanation"], _number(words["simulation"]),
                                                 _number(words["detection"])]])
        models[name] = dict(seed=seeds[name], live=len(run.live(name, seeds[name])), features=rows)
    texts = [_visible(bpe.token_text(run.corpus.tokenizer, i)) for i in range(len(run.corpus.tokenizer))]
    block_domain = np.zeros(len(probe["blocks"]), dtype=int)
    block_domain[probe["block"]] = probe["domain"]
    return dict(profile=run.lineage.name, source=run.lineage.corpora.source, tau=run.lineage.comparison.tau,
                domains=list(DOMAINS), width=WIDTH, context=int(probe["blocks"].shape[1]), vocab=texts,
                block_domain="".join(map(str, block_domain)), models=models,
                blocks=base64.b64encode(probe["blocks"].astype("<u2" if len(texts) <= 1 << 16 else "<u4").tobytes())
                .decode())


def _shown(run: Run, name: str) -> np.ndarray:
    """Features of a model that have a page: the live ones, thinned out evenly over density beyond MOST."""
    seed = groups.seeds(run)[name]
    live = run.live(name, seed)
    if len(live) <= MOST:
        return live
    order = np.argsort(features.fires(run.features(name, seed))[live], kind="stable")
    return np.sort(live[order[np.linspace(0, len(live) - 1, MOST).round().astype(int)]])


def _matches(run: Run, name: str, seeds: dict) -> dict:
    """{other model or "twin": (seed, {feature: (best match, r, persists one-to-one)})} for the features of a model."""
    out = {}
    for other in MODELS:
        if other != name:
            first, second = sorted((name, other), key=MODELS.index)
            one = run.compare((first, seeds[first]), (second, seeds[second]))
            out[other] = (seeds[other], _partners(one, 0 if first == name else 1, run.lineage.comparison.tau))
    twins = [seed for seed in run.lineage.sae.seeds if seed != seeds[name]]
    if twins:
        a, b = sorted((seeds[name], twins[0]), key=run.lineage.sae.seeds.index)
        one = run.compare((name, a), (name, b))
        out["twin"] = (twins[0], _partners(one, 0 if a == seeds[name] else 1, run.lineage.comparison.tau))
    return out


def _partners(one, side: int, tau: float) -> dict:
    mine, theirs = (one.live_a, one.live_b) if side == 0 else (one.live_b, one.live_a)
    if not len(theirs):
        return {}
    key = "ab"[side]
    return {int(j): (int(theirs[best]), float(r), bool(kept)) for j, best, r, kept in zip(
        mine, one.table[f"best_of_{key}"], one.table[f"r_of_{key}"], one.kept("one_to_one", tau)[side], strict=True)}


def _row(j, name, columns, peaks, matches, probe, at, domain_tokens) -> dict:
    rows, values = rules.column(columns[name], j)
    places, tops = _contexts(rows, values, probe, at.shape[1])
    window = np.array([at[block, start:start + WIDTH] for block, start, _ in places]).ravel()
    shades, others = [encoding.shade(columns[name], j, window, peaks[name][j])], {}
    for other, (_, partners) in matches.items():
        found = partners.get(int(j))
        if found is None:
            continue
        others[other] = [found[0], round(found[1], 3), int(found[2])]
        if other != "twin":
            shades.append(encoding.shade(columns[other], found[0], window, peaks[other][found[0]]))
            others[other] += [encoding.scatter(columns[name], j, peaks[name][j], columns[other], found[0],
                                             peaks[other][found[0]]), round(float(peaks[other][found[0]]), 2)]
    fires = np.bincount(probe["domain"][rows[values > 0]], minlength=len(DOMAINS))
    return dict(id=int(j), max=round(float(peaks[name][j]), 2), fires=int(fires.sum()),
                density=[float(f"{share:.2e}") for share in fires / np.maximum(domain_tokens, 1)],
                at=[int(block) * at.shape[1] + int(start) for block, start, _ in places],
                peak=[int(peak) for *_, peak in places], tops=tops, shade=shades, match=others)


def _contexts(rows, values, probe, context) -> tuple[list[tuple[int, int, int]], int]:
    """(block, start, place of the peak in the window) of the strongest and of the quantile contexts, and how many
    are of the first kind."""
    order = np.lexsort((rows, -values))
    chosen, seen = [], set()
    for k in order[:200]:
        if len(chosen) < TOP and probe["document"][rows[k]] not in seen:
            seen.add(probe["document"][rows[k]])
            chosen.append(k)
    tops = len(chosen)
    chosen += [order[int((1 - q) * (len(order) - 1))] for q in QUANTILES]
    out = []
    for k in dict.fromkeys(chosen):
        block, position = probe["block"][rows[k]], probe["position"][rows[k]]
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


def _number(value) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None
