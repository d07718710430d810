"""Explanations of a run: the lexical ones of every feature, their scores and controls, and Figure 6's groups."""

import os

import numpy as np
import pandas as pd
from scipy import sparse

from unifeat import sae
from unifeat.autointerp import client, rules, scores
from unifeat.lineage.run import Run
from unifeat.matching import token_features
from unifeat.sae import features
from unifeat.studies import baselines
from unifeat.support.tables import csv
from unifeat.text import bpe

WINDOW = 32  # tokens in which detection asks whether a feature fires
COLUMNS = ["model", "seed", "feature", "explainer", "explanation", "simulation", "detection"]


def seeds(run: Run) -> dict[str, int]:
    """The SAE of each model that is explained and shown: seeds differ along every edge, and every other pair that is
    compared where there are seeds enough. Models in their order take the first seed that their parents leave."""
    p, chosen = run.lineage, {}
    for name in p.names:
        above = {chosen[other] for other in p.parents(name) if other in chosen}
        near = {chosen[other] for pair in p.pairs if name in pair for other in pair if other in chosen}
        free = [seed for taken in (near, above, set()) for seed in p.sae.seeds if seed not in taken]
        chosen[name] = free[0]
    return chosen


def focus(run: Run) -> tuple[str, str | None, str | None]:
    """The model that Figure 6 explains, its parent, and its child: the first edge's child, or the only model."""
    if not run.lineage.edges:
        return run.lineage.names[0], None, None
    parent, name = run.lineage.edges[0]
    return name, parent, next(iter(run.lineage.children(name)), None)


def table(run: Run) -> np.ndarray:
    """`rules.slots` of the comparison text's tokens."""
    text, tokens = run.comparison_text, run.corpus.tokenizer
    classes = np.array([0] + [rules.classify(bpe.token_text(tokens, i)) for i in range(1, len(tokens))])
    return rules.slots(text["blocks"].astype(np.int64), text["block"], text["position"], classes)


def quoted(run: Run):
    """Function from a token id to its text in backticks: spaces as ·, line ends as ↵."""
    from unifeat.text.visible import show

    return lambda number: f"`{show(bpe.token_text(run.corpus.tokenizer, number))}`"


def windows(run: Run) -> np.ndarray:
    """Number of the WINDOW-token stretch of a block that each token of the comparison text is in."""
    text = run.comparison_text
    return text["block"] * 10_000 + text["position"] // WINDOW


def lexical(run: Run, name: str, seed: int | None = None) -> pd.DataFrame:
    """Lexical explanation and held-out scores of each live feature of an SAE; `seeds` chooses where seed is None.

    name: a model, "neurons" (of the model in `focus`, the k largest of each token) or "random" (an SAE of a random LM).
    Columns COLUMNS and simulation_shuffled, detection_shuffled: another feature's explanation on this feature.
    """
    own = name in run.lineage.names
    if own:
        seed = seeds(run)[name] if seed is None else seed
    artefact = run.feature_stage(name) if own else _control(run, name)
    seed = seed or 0
    p = run.lineage.comparison
    made = run.stage(f"lexical-{name}{seed}", lambda folder: _lexical(run, name, seed, folder),
                     [seed, p.min_fires, p.seed], [run.corpus_stage, artefact])
    return pd.read_csv(made.folder / "table.csv", keep_default_na=False, na_values={
        column: "" for column in ("simulation", "detection", "simulation_shuffled", "detection_shuffled")})


def activations(run: Run, name: str, seed: int | None = None) -> sparse.csr_matrix:
    """Activations (tokens, width) on the comparison text of a model's SAE or of a control, named as in `lexical`."""
    if name in run.lineage.names:
        return run.features(name, seeds(run)[name] if seed is None else seed)
    return sparse.load_npz(_control(run, name).folder / "features.npz")


def _lexical(run, name, seed, folder):
    f = activations(run, name, seed)
    live = np.flatnonzero(features.fires(f) >= run.lineage.comparison.min_fires)
    f, text, slots = f[:, live], run.comparison_text, table(run)
    learning, window = token_features.halves(text["document"], text["domain"]), windows(run)
    learned = rules.learn(f[learning], slots[:, learning])
    held, predicted = f[~learning], rules.simulate(learned, slots[:, ~learning])
    shuffled = predicted[:, derangement(len(live), run.lineage.comparison.seed)]
    quote = quoted(run)
    found = dict(simulation=scores.simulation(held, predicted),
                  detection=scores.detection(held, predicted, window[~learning]),
                  simulation_shuffled=scores.simulation(held, shuffled),
                  detection_shuffled=scores.detection(held, shuffled, window[~learning]))
    frame = pd.DataFrame(dict(model=name, seed=seed, feature=live, explainer="lexical",
                              explanation=[rules.sentence(rule, quote) for rule in learned]) | found)
    (folder / "table.csv").write_text(csv(frame), encoding="utf-8")


def derangement(n: int, seed: int) -> np.ndarray:
    """A random cyclic permutation: nobody keeps their own.

    >>> bool((derangement(50, 0) == np.arange(50)).any())
    False
    """
    order = np.random.default_rng(seed).permutation(n)
    out = np.empty(n, dtype=int)
    out[order] = np.roll(order, 1)
    return out


# Controls -----------------------------------------------------------------------------------------------------

def _control(run: Run, name: str):
    """The result that holds features.npz, the activations of a control on the comparison text."""
    if name == "neurons":
        model = focus(run)[0]
        return run.stage(f"neurons-{model}", lambda folder: _neurons(run, model, folder),
                         [run.lineage.sae.k, run.lineage.comparison.tokens, run.lineage.sae.hook],
                         [run.corpus_stage, run.model_stage(model)])
    if name == "random":
        return baselines.random_saes(run)
    raise ValueError(f"There is no control {name!r}; choose neurons or random.")


def _neurons(run, model, folder):
    """Neurons as a sparse code: of each token the k largest positive activations, k as in the SAEs."""
    x = features.text_activations(run.model(model), run.comparison_text["blocks"], run.lineage.sae.hook).float()
    sparse.save_npz(folder / "features.npz", sparse.vstack(
        [sparse.csr_matrix(sae.act(rows, "topk", min(run.lineage.sae.k, x.shape[1]), 0.0).cpu().numpy())
         for rows in x.split(sae.ROWS)], format="csr"))


# Figure 6 -----------------------------------------------------------------------------------------------------


def sample() -> int:
    """Features of each group that a language model is asked about: UNIFEAT_LLM_FEATURES or 25.

    Raises:
        LlmError: that is not a number above 0.
    """
    text = os.environ.get("UNIFEAT_LLM_FEATURES") or "25"
    if not text.isdecimal() or int(text) < 1:
        raise client.LlmError(f"UNIFEAT_LLM_FEATURES={text} must be a whole number above 0.")
    return int(text)


def some(features_, count: int, seed: int) -> np.ndarray:
    """At most `count` of the features, drawn at random, in order; 0 = all."""
    chosen = np.asarray(features_)
    return np.sort(np.random.default_rng(seed).permutation(chosen)[:count]) if count else chosen


def members(run: Run, count: int = 0) -> dict[str, tuple[str, np.ndarray]]:
    """Figure 6's groups: {group: (model, features)}, one-to-one at the lineage's tau between the SAEs of `seeds`.

    Of the model in `focus`: all its features, those that persist into its child, those that emerged; and those of its
    parent that vanished, as far as there are such models. count: at most so many of each group, drawn at random; 0 =
    all.
    """
    chosen, tau, (name, parent, child) = seeds(run), run.lineage.comparison.tau, focus(run)
    short, groups = run.theme.short(name), {}

    def kept(a, b, side):
        one = run.compare((a, chosen[a]), (b, chosen[b]))
        return (one.live_a, one.live_b)[side], one.kept("one_to_one", tau)[side]

    live = run.live(name, chosen[name])
    groups[f"{short} features"] = name, live
    if child:
        groups[f"persist into {run.theme.model(child).phrase}"] = name, live[kept(name, child, 0)[1]]
    if parent:
        above, survives = kept(parent, name, 0)
        groups[f"emerged in {short}"] = name, live[~kept(parent, name, 1)[1]]
        groups[f"vanished from {run.theme.model(parent).phrase}"] = parent, above[~survives]
    return {group: (model, some(found, count, run.lineage.comparison.seed)) for group, (model, found) in groups.items()}


def grouped(run: Run, frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Scores by group, long: group, kind (features | control), explainer and COLUMNS' scores.

    frames: explanations of the models in `focus`, and of the controls "neurons" and "random", as `lexical` gives them.
    """
    name, parts = focus(run)[0], []
    lexical_only = (frames[name]["explainer"] == "lexical").all()
    for group, (model, chosen) in members(run, 0 if lexical_only else sample()).items():
        rows = frames[model][frames[model]["feature"].isin(chosen)]
        parts.append(rows.assign(group=group, kind="features"))
    for group, key in ((f"neurons of {run.theme.short(name)}", "neurons"), ("SAE of a random LM", "random")):
        if key in frames:
            parts.append(frames[key].assign(group=group, kind="control"))
    shuffled = frames[name].assign(group="shuffled explanations", kind="control")
    parts.append(shuffled.assign(simulation=shuffled["simulation_shuffled"], detection=shuffled["detection_shuffled"]))
    return pd.concat(parts, ignore_index=True)[["group", "kind", *COLUMNS]]


def medians(frame: pd.DataFrame) -> pd.DataFrame:
    """Number of scored features and median of both scores per group, in order."""
    found = frame.groupby(["group", "kind", "explainer"], sort=False)[["simulation", "detection"]]
    out = found.median().join(found.count(), rsuffix="_n").reset_index()
    return out.rename(columns={"simulation_n": "n_simulation", "detection_n": "n_detection"})

