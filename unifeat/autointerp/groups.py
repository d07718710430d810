"""Explanations of a run: the lexical ones of every feature, their scores and controls, and Figure 6's groups."""

import os

import numpy as np
import pandas as pd
from scipy import sparse

from unifeat import lm, sae
from unifeat.autointerp import client, rules, scores
from unifeat.lineage.run import Run
from unifeat.lineage.settings import MODELS
from unifeat.sae import features
from unifeat.studies import baselines
from unifeat.support.tables import csv
from unifeat.text import tokenizer

WINDOW = 32  # tokens in which detection asks whether a feature fires
GROUPS = ("Lua features", "persist into the merge", "emerged in Lua", "vanished from the base")
CONTROLS = ("neurons of Lua", "SAE of a random LM", "shuffled explanations")
COLUMNS = ["model", "seed", "feature", "explainer", "explanation", "simulation", "detection"]


def seeds(run: Run) -> dict[str, int]:
    """The SAE of each model that is explained and shown: seeds differ along every edge of the flow.

    With two seeds the base and the merge have the first, the children the second; with three the merge has the third.
    """
    found = run.profile.sae.seeds
    return dict(base=found[0], lua=found[1 % len(found)], stories=found[1 % len(found)],
                merged=found[2 if len(found) > 2 else 0])


def table(run: Run) -> np.ndarray:
    """`interp.slots` of the probe's tokens."""
    probe, tokenizer = run.probe, run.corpus.tokenizer
    texts = [tokenizer.token_text(tokenizer, i) for i in range(len(tokenizer))]
    classes = np.array([0] + [rules.classify(text) for text in texts[1:]])
    return rules.slots(probe["blocks"].astype(np.int64), probe["block"], probe["position"], classes)


def quoted(run: Run):
    """Function from a token id to its text in backticks: spaces as ·, line ends as ↵."""
    from unifeat.plots.tokens import show

    return lambda number: f"`{show(tokenizer.token_text(run.corpus.tokenizer, number))}`"


def windows(run: Run) -> np.ndarray:
    """Number of the WINDOW-token stretch of a block that each probe token is in."""
    probe = run.probe
    return probe["block"] * 10_000 + probe["position"] // WINDOW


def lexical(run: Run, name: str, seed: int | None = None) -> pd.DataFrame:
    """Lexical explanation and held-out scores of each live feature of an SAE; `seeds` chooses where seed is None.

    name: a model, "neurons" (the Lua model's, the k largest of each token) or "random" (an SAE of a random LM).
    Columns COLUMNS and simulation_shuffled, detection_shuffled: another feature's explanation on this feature.
    """
    if name in MODELS:
        seed = seeds(run)[name] if seed is None else seed
    artefact = run._feature_artefact(name) if name in MODELS else _control(run, name)
    seed = seed or 0
    p = run.profile.probe
    made = run._make(f"lexical-{name}{seed}", lambda folder: _lexical(run, name, seed, folder),
                     [seed, p.min_fires, p.seed, WINDOW], [run._corpus_artefact, artefact], (rules,))
    return pd.read_csv(made.folder / "table.csv", keep_default_na=False, na_values={
        column: "" for column in ("simulation", "detection", "simulation_shuffled", "detection_shuffled")})


def activations(run: Run, name: str, seed: int | None = None) -> sparse.csr_matrix:
    """Activations (probe tokens, width) of a model's SAE or of a control, named as in `lexical`."""
    if name in MODELS:
        return run.features(name, seeds(run)[name] if seed is None else seed)
    return sparse.load_npz(_control(run, name).folder / "features.npz")


def _lexical(run, name, seed, folder):
    f = activations(run, name, seed)
    live = np.flatnonzero(features.fires(f) >= run.profile.probe.min_fires)
    f, probe, slots = f[:, live], run.probe, table(run)
    learning, window = rules.halves(probe["document"], probe["domain"]), windows(run)
    learned = rules.learn(f[learning], slots[:, learning])
    held, predicted = f[~learning], rules.simulate(learned, slots[:, ~learning])
    shuffled = predicted[:, derangement(len(live), run.profile.probe.seed)]
    text = quoted(run)
    found = dict(simulation=scores.simulation(held, predicted),
                  detection=scores.detection(held, predicted, window[~learning]),
                  simulation_shuffled=scores.simulation(held, shuffled),
                  detection_shuffled=scores.detection(held, shuffled, window[~learning]))
    frame = pd.DataFrame(dict(model=name, seed=seed, feature=live, explainer="lexical",
                              explanation=[rules.sentence(rule, text) for rule in learned]) | found)
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
    """Artefact with features.npz, the activations of a control on the probe."""
    if name == "neurons":
        return run._make("neurons-lua", lambda folder: _neurons(run, folder),
                         [run.profile.sae.k, run.profile.probe.tokens, run.profile.sae.hook],
                         [run._corpus_artefact, run._model_artefact("lua")], (lm, features, sae))
    if name == "random":
        return baselines.random_saes(run)
    raise ValueError(f"There is no control {name!r}; choose neurons or random.")


def _neurons(run, folder):
    """Neurons as a sparse code: of each token the k largest positive activations, k as in the SAEs."""
    x = features.probe_activations(run.model("lua"), run.probe["blocks"], run.profile.sae.hook).float()
    sparse.save_npz(folder / "features.npz", sparse.vstack(
        [sparse.csr_matrix(sae.act(rows, "topk", min(run.profile.sae.k, x.shape[1]), 0.0).cpu().numpy())
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
    """Figure 6's groups: {group: (model, features)}, one-to-one at the profile's tau between the SAEs of `seeds`.

    count: at most so many of each group, drawn at random; 0 = all.
    """
    chosen, tau = seeds(run), run.profile.probe.tau

    def kept(a, b, side):
        one = run.compare((a, chosen[a]), (b, chosen[b]))
        return (one.live_a, one.live_b)[side], one.kept("one_to_one", tau)[side]

    live, persists = kept("lua", "merged", 0)
    _, inherited = kept("base", "lua", 1)
    base, survives = kept("base", "lua", 0)
    groups = (("lua", live), ("lua", live[persists]), ("lua", live[~inherited]), ("base", base[~survives]))
    return {group: (model, some(chosen, count, run.profile.probe.seed))
            for group, (model, chosen) in zip(GROUPS, groups, strict=True)}


def grouped(run: Run, frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Scores by group, long: group, kind (features | control), explainer and COLUMNS' scores.

    frames: explanations of "lua" and "base", and of the controls "neurons" and "random", as `lexical` gives them.
    """
    parts, lexical_only = [], (frames["lua"]["explainer"] == "lexical").all()
    for group, (model, chosen) in members(run, 0 if lexical_only else sample()).items():
        rows = frames[model][frames[model]["feature"].isin(chosen)]
        parts.append(rows.assign(group=group, kind="features"))
    for group, key in zip(CONTROLS[:2], ("neurons", "random"), strict=True):
        if key in frames:
            parts.append(frames[key].assign(group=group, kind="control"))
    shuffled = frames["lua"].assign(group=CONTROLS[2], kind="control")
    parts.append(shuffled.assign(simulation=shuffled["simulation_shuffled"], detection=shuffled["detection_shuffled"]))
    return pd.concat(parts, ignore_index=True)[["group", "kind", *COLUMNS]]


def medians(frame: pd.DataFrame) -> pd.DataFrame:
    """Number of scored features and median of both scores per group, in order."""
    found = frame.groupby(["group", "kind", "explainer"], sort=False)[["simulation", "detection"]]
    out = found.median().join(found.count(), rsuffix="_n").reset_index()
    return out.rename(columns={"simulation_n": "n_simulation", "detection_n": "n_detection"})

