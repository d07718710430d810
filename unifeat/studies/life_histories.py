"""Features along training, and along a merge: when each is born, whether it drifts, when it dies (notebook 13).

Two ways to follow them. Independent SAEs of every checkpoint, matched as those of any two models, with ceiling and
nulls. And *warm-started* SAEs: each goes on from the one before it, on the activations of the next model, so that a
latent keeps its number. A latent lives on from one model to the next where its activations correlate with its own past
at the lineage's tau.
"""

import copy
import itertools
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse, stats

from unifeat import lm
from unifeat.lineage.run import Run
from unifeat.lineage.settings import Member
from unifeat.sae import features
from unifeat.sae import training as sae_training
from unifeat.studies import baselines, checkpoints, dose, merge_search, persistence, variants
from unifeat.support import parallel

WARM = 0.4  # length of a warm start's training, as a share of the first SAE's
POINTS = (0.25, 0.5, 0.75)  # t of the merges along which features are followed
SHARED = ["step", *dose.SHARE, "null_untrained"]
LIVES = ["path", "order", "seed", "latent", "born", "lived", "died", "domain"]
SURVIVAL = ["path", "order", "seed", "lived", "alive", "low", "high", "at_risk"]
COHORTS = ["path", "seed", "born", "alive_at_end", "low", "high", "features"]
DRIFT = ["path", "seed", "at", "alive", "r_median", "cosine_median", "same", "null_same"]
JOIN = ["model_seed", "task", "step", "features_of_the_end", "gain_nats"]


def along(run: Run) -> Run:
    """The run with its root's checkpoints, and two SAEs a model of the length of the controls'."""
    return variants.pair(checkpoints.along(run))


def paths(run: Run) -> dict[str, tuple[Run, list[str]]]:
    """{path: (run, models in their order)}: the root's training, and the SLERP path between two of its children."""
    out = {}
    if checkpoints.possible(run):
        out["training"] = along(run), [checkpoints.name(run, step) for step in checkpoints.steps(run)]
    if found := merge_search.family(run):
        _, a, b = found
        made = {f"slerp_{100 * t:.0f}": Member(merge=(a, b), t=t) for t in POINTS}
        out["merge"] = variants.pair(variants.with_models(run, **made)), [a, *made, b]
    return out


def prepare(run: Run) -> None:
    """Make all SAEs and comparisons ready, several at a time."""
    for one, names in paths(run).values():
        one.train_models(*names)
    if "training" in (every := paths(run)):
        one, names = every["training"]
        parallel.side_by_side(one.sae_stage, names, one.lineage.sae.tokens * len(names), "SAEs of the checkpoints")
        baselines.random_saes(one)
        looks = [(Run.look_stage, name) for name in names]
        twins = [(Run.compare, (name, s), (name, t)) for name in names
                 for s, t in itertools.combinations(one.lineage.sae.seeds, 2)]
        pairs = [(Run.compare, (name, s), (names[-1], t)) for name in names[:-1]
                 for s, t in persistence.seed_pairs(one, "controlled")]
        random = [(baselines.random, (name, persistence.seed_pairs(one, "controlled")[0][1])) for name in names]
        persistence.ready(one, looks + twins + pairs + random, "matching along training")
    for path, (one, names) in every.items():
        warm(one, path, names)


def shared(run: Run) -> pd.DataFrame:
    """checkpoint_features.csv: what every checkpoint shares with the last, by independent SAEs: shares as in
    persistence.csv, one-to-one at the lineage's tau, with ceiling and both nulls; intervals are over documents."""
    rows = []
    if "training" in (every := paths(run)):
        one, names = every["training"]
        for step, name in zip(checkpoints.steps(run)[:-1], names, strict=False):
            rows += [dict(step=step) | row for row in dose.share_rows_with_untrained(one, name, names[-1])]
    return pd.DataFrame(rows, columns=SHARED)


# Warm starts --------------------------------------------------------------------------------------------------------


def warm(run: Run, path: str, names: list[str]):
    """The result that holds, by SAE seed, what follows from a chain of warm-started SAEs over the models `names`."""
    first = run.lineage.sae
    config = replace(first, tokens=round(WARM * first.tokens), k_first=first.k, k_anneal=0.0)

    def build(folder):
        domains, weights = run.lineage.sae_text(names[0])
        blocks = [run.corpus.blocks(domain, "train") for domain in domains]
        chains = {seed: [] for seed in first.seeds}
        with parallel.Bar(total=first.tokens + len(names) * config.tokens, desc=f"warm-started SAEs along {path}",
                          unit="tok", unit_scale=True, mininterval=1) as bar:
            saes = None
            for name in [*names, names[-1]]:  # the last again: the same model and text, for the null
                model = run.model(name)
                saes = trained(model, blocks, weights, config if saes else first, saes, bar)
                x = features.text_activations(model, run.comparison_text["blocks"], first.hook)
                for one in saes:
                    chains[one.seed].append((features.encode(one, x), one.w_dec.clone()))
        for seed, chain in chains.items():
            np.savez(folder / f"seed{seed}.npz", **followed(chain, run.comparison_text["domain"],
                                                            run.lineage.comparison.min_fires))

    inputs = [run.corpus_stage, *dict.fromkeys(map(run.model_stage, names))]
    return run.stage(f"warm-{path}", build, [first, config, names, run.lineage.comparison], inputs)


def trained(model, blocks: list, weights, config, before: list | None, bar) -> list:
    """SAEs of `model`, one per seed of `config`: new ones, or those of `before` trained on, each on one stream."""
    if before is None:
        return sae_training.train(model, blocks, weights, config, bar=bar)[0]
    trainers, generators = [], [np.random.default_rng(1000 + seed) for seed in config.seeds]
    for buffer in sae_training.stream(model, blocks, weights, config):
        if not trainers:
            length = buffer[::max(1, len(buffer) // 8192)].float().square().sum(1).mean().sqrt().item()
            scale = np.sqrt(buffer.shape[1]) / length  # E||s x||^2 = d in every model
            trainers = [sae_training.Trainer(replace(copy.deepcopy(one), scale=scale, lm_hash=lm.weights_hash(model)),
                                             config) for one in before]
        for trainer, rng in zip(trainers, generators, strict=True):
            order = rng.permutation(len(buffer))
            for at in range(0, len(order) - config.batch + 1, config.batch):
                if trainer.step < trainer.steps:
                    trainer.update(buffer[order[at:at + config.batch]])
                    bar.update(config.batch / len(trainers))
    return [trainer.finish() for trainer in trainers]


def followed(chain: list, domain: np.ndarray, min_fires: int) -> dict[str, np.ndarray]:
    """Of a chain of (latents (tokens, width), decoder (width, d)), the last twice of one model: `alive` (models,
    width), `r` (models, models, width) of each latent with itself, `cosine` (models - 1, width) of its decoder row with
    the one before, `null` (width,) the r of the last two, and the `domain` (width,) where it fires most at the end.

    domain: of every token of the comparison text, by number.
    """
    latents = [f for f, _ in chain]
    alive = np.array([features.fires(f) >= min_fires for f in latents[:-1]])
    n = len(alive)
    r = np.ones((n, n, latents[0].shape[1]), np.float32)
    for a, b in itertools.combinations(range(n), 2):
        r[a, b] = r[b, a] = same_r(latents[a], latents[b])
    unit = [(w / w.norm(dim=1, keepdim=True)).double() for _, w in chain[:-1]]
    cosine = np.array([(a * b).sum(1).numpy() for a, b in itertools.pairwise(unit)])
    fires = np.array([features.fires(latents[-2][domain == one]) / (domain == one).sum() for one in np.unique(domain)])
    return dict(alive=alive, r=r, cosine=cosine, null=same_r(latents[-2], latents[-1]), domain=fires.argmax(0))


def same_r(x: sparse.csr_matrix, y: sparse.csr_matrix) -> np.ndarray:
    """Pearson's r between column j of x and column j of y, sparse (tokens, width); 0 where one does not vary.

    >>> one = sparse.csr_matrix([[0.0, 1], [1, 0], [2, 0]])
    >>> same_r(one, one @ sparse.diags([2.0, 0.0])).round(6).tolist()
    [1.0, 0.0]
    """
    n = x.shape[0]
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = (np.asarray(f.sum(0)).ravel() / n for f in (x, y))
    spread_x, spread_y = (np.sqrt(np.maximum(np.asarray(f.multiply(f).sum(0)).ravel() / n - mean**2, 0))
                          for f, mean in ((x, mean_x), (y, mean_y)))
    both = np.asarray(x.multiply(y).sum(0)).ravel() / n - mean_x * mean_y
    return np.divide(both, spread_x * spread_y, out=np.zeros_like(both), where=spread_x * spread_y > 1e-12)


# Lives --------------------------------------------------------------------------------------------------------------


def lives(alive: np.ndarray, r: np.ndarray, tau: float, order=None) -> pd.DataFrame:
    """Every life of every latent: it begins where a live latent is not the one it was in the model before, and ends
    before the first model in which it is not. born: the place of its first model; lived: how many models it passed on
    to; died: whether it ended before the last. order: the models' places, where they are looked at in another order.

    >>> alive = np.array([[True], [True], [True], [False]])
    >>> lives(alive, np.ones((4, 4, 1)), 0.8).values.tolist()
    [[0, 0, 2, True]]
    """
    order = np.arange(len(alive)) if order is None else np.asarray(order)
    alive = alive[order]
    on = np.array([alive[a] & alive[a + 1] & (r[order[a], order[a + 1]] >= tau) for a in range(len(order) - 1)])
    rows = []
    for latent in np.flatnonzero(alive.any(0)):
        at = 0
        while at < len(alive):
            if not alive[at, latent]:
                at += 1
                continue
            born = at
            while at < len(on) and on[at, latent]:
                at += 1
            rows.append((latent, born, at - born, at < len(alive) - 1))
            at += 1
    return pd.DataFrame(rows, columns=["latent", "born", "lived", "died"])


def histories(run: Run) -> pd.DataFrame:
    """feature_lives.csv: of both paths and SAE seeds, every life, in the models' order and in an order drawn at random;
    born is the place of the model on the path, domain where the latent fires most in the last model."""
    frames = []
    for path, seed, found, _ in _chains(run):
        for order, places in (("as trained", None), ("shuffled", shuffled(len(found["alive"]), seed))):
            frame = lives(found["alive"], found["r"], run.lineage.comparison.tau, places)
            domain = np.array(run.lineage.domains, object)[found["domain"][frame["latent"]]]
            frames.append(frame.assign(path=path, order=order, seed=seed, domain=domain))
    return pd.concat(frames, ignore_index=True)[LIVES] if frames else pd.DataFrame(columns=LIVES)


def shuffled(count: int, seed: int) -> np.ndarray:
    """The places 0 to count - 1 in a random order, neither rising nor falling throughout (from three on)."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        if count < 3 or len(set(np.sign(np.diff(order)))) > 1:
            return order


def _chains(run: Run):
    """(path, SAE seed, arrays as from `followed`, names of the models) of every chain."""
    for path, (one, names) in paths(run).items():
        made = warm(one, path, names)
        for seed in one.lineage.sae.seeds:
            with np.load(made.folder / f"seed{seed}.npz", allow_pickle=False) as file:
                yield path, seed, dict(file), names


def survival(frame: pd.DataFrame) -> pd.DataFrame:
    """feature_survival.csv: by path, order and SAE seed, the share of lives that pass on to so many models, after
    Kaplan & Meier 1958 (a life that lasts to the last model is censored), with scipy's 95 % interval over features."""
    rows = []
    for key, part in frame.groupby(["path", "order", "seed"], sort=False):
        died, lived = part["died"].to_numpy(bool), part["lived"].to_numpy(float)
        curve = stats.ecdf(stats.CensoredData(uncensored=lived[died], right=lived[~died])).sf if died.any() else None
        head = dict(zip(["path", "order", "seed"], key, strict=True))
        for at in range(int(lived.max()) + 1):
            low, share, high = _curve(curve, at)
            rows.append(head | dict(lived=at + 1, alive=share, low=low, high=high, at_risk=int((lived >= at).sum())))
    return pd.DataFrame(rows, columns=SURVIVAL)


def _curve(curve, at: int) -> tuple[float, float, float]:
    """Low end, value and high end of a survival curve; ends are NaN where nothing has died, and all have."""
    if curve is None:
        return np.nan, 1.0, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # which says just that
        ends = curve.confidence_interval(method="log-log")
    return float(ends.low.evaluate(at)), float(curve.evaluate(at)), float(ends.high.evaluate(at))


def cohorts(frame: pd.DataFrame) -> pd.DataFrame:
    """feature_cohorts.csv: by path, SAE seed and place of birth, the share of lives that last to the last model, with
    a 95 % interval over features (Clopper & Pearson 1934), and how many there are."""
    rows = []
    for (path, seed, born), part in frame[frame["order"] == "as trained"].groupby(["path", "seed", "born"], sort=True):
        count, n = int((~part["died"].astype(bool)).sum()), len(part)
        interval = stats.binomtest(count, n).proportion_ci()
        rows.append(dict(path=path, seed=seed, born=born, alive_at_end=count / n, low=interval.low, high=interval.high,
                         features=n))
    return pd.DataFrame(rows, columns=COHORTS)


def drift(run: Run) -> pd.DataFrame:
    """feature_drift.csv: by path, SAE seed and model, of the latents alive in it and in the one before: median r with
    their own past, median cosine of decoder rows, and the share that is the same at tau; null_same: that share where an
    SAE goes on from its own past on the same model and text."""
    rows, tau = [], run.lineage.comparison.tau
    for path, seed, found, names in _chains(run):
        null = float((found["null"] >= tau)[found["alive"][-1]].mean())
        for at in range(1, len(names)):
            both = found["alive"][at] & found["alive"][at - 1]
            r, cosine = found["r"][at - 1, at][both], found["cosine"][at - 1][both]
            rows.append(dict(path=path, seed=seed, at=names[at], alive=int(both.sum()),
                             r_median=np.median(r) if len(r) else np.nan,
                             cosine_median=np.median(cosine) if len(r) else np.nan,
                             same=(r >= tau).mean() if len(r) else np.nan, null_same=null))
    return pd.DataFrame(rows, columns=DRIFT)


def join(told: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """feature_gain.csv: by language-model seed, task that the root did not see and step, what fine-tuning gains there
    (nats per token), beside the share of the last checkpoint's features that the checkpoint has already.

    told: as from `checkpoints.table`; found: as from `shared`, whose SAEs are of the first language-model seed.
    """
    own = told[(told["arm"] == "tuned") & (told["task"] == told["domain"]) & (told["format"] == "training")
               & ~told["seen"].astype(bool)]
    have = found[(found["features"] == "all") & (found["side"] == "child")].set_index("step")["observed"]
    out = own[own["model_seed"] == 0].assign(features_of_the_end=own["step"].map(have))
    return out.dropna(subset="features_of_the_end")[JOIN].reset_index(drop=True)
