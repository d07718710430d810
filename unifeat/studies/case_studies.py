"""Case studies: features chosen by rule, and the contexts in which they fire most.

They follow the lineage's first edge, from parent to child, and look the features up in every other model.
"""

import numpy as np
import pandas as pd

from unifeat.lineage.run import Run
from unifeat.sae import features
from unifeat.text import bpe

RULES = ("universal", "persisting", "nearest", "vanished", "emerged", "random")
BEYOND = ("beyond_token", "beyond_neuron")


def ends(run: Run) -> tuple[str, str]:
    """Parent and child of the first edge; a lineage without edges has its first model in both places."""
    return run.lineage.edges[0] if run.lineage.edges else (run.lineage.names[0],) * 2


def described(run: Run, rule: str) -> str:
    """A rule in words."""
    parent, child = (run.theme.short(name) for name in ends(run))
    home = run.theme.model(ends(run)[0]).phrase
    return {
        "universal": f"rule: greatest least r over the other {_count(len(run.lineage.names) - 1)}"
                     if len(run.lineage.names) > 1 else "rule: drawn at random, since there is no other model",
        "persisting": f"rule: median r into {child} among those with r ≥ tau",
        "nearest": f"rule: r into {child} nearest to tau",
        "vanished": f"rule: found again by {home}'s own seed twin, least r into {child}",
        "emerged": f"rule: a {child} feature found again by {child}'s own seed twin, least r from {home}",
        "random": "rule: drawn at random, for honesty",
    }[rule]


def _count(n: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return f"{words[n] if n < len(words) else n} model{'s' * (n != 1)}"


def partners(run: Run) -> pd.DataFrame:
    """Each live feature of the parent's first SAE with its best match and r in every model, and its seed twin's r.

    Its features are compared with SAEs of another seed, so no shared initial weights help. beyond_token, beyond_neuron:
    whether it is more than a look-up of the current token, and than one neuron, as `Run.subsets` says.
    """
    first, second = run.lineage.sae.seeds[:2]
    return _found(run, (ends(run)[0], first), (ends(run)[0], second), {name: second for name in run.lineage.names})


def origins(run: Run) -> pd.DataFrame:
    """As `partners`, from the child's side: each live feature of the child's second SAE with its best matches.

    r_twin is its best match in the child's first SAE; the other models are compared with SAEs of another seed.
    """
    first, second = run.lineage.sae.seeds[:2]
    return _found(run, (ends(run)[1], second), (ends(run)[1], first), {name: first for name in run.lineage.names})


def _found(run: Run, mine: tuple[str, int], twin: tuple[str, int], seeds: dict[str, int]) -> pd.DataFrame:
    """Features of the SAE `mine`, their r in `twin`, and best match and r in the other models' SAEs of `seeds`."""
    name, seed = mine
    frame = pd.DataFrame({name: run.live(name, seed)})
    frame["r_twin"] = _side(run, mine, twin)[1]
    for other in run.lineage.names:
        if other != name:
            frame[other], frame[f"r_{other}"] = _side(run, mine, (other, seeds[other]))
    frame["fires"] = features.fires(run.features(name, seed))[frame[name]]
    return frame.assign(**{key: run.subsets(name, seed)[key] for key in BEYOND})


def _side(run: Run, mine: tuple[str, int], other: tuple[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Best match in `other` of each live feature of `mine`, and its r; the earlier of two models is the parent's
    side."""
    order = run.lineage.names.index
    seeds = run.lineage.sae.seeds.index
    if (order(mine[0]), seeds(mine[1])) <= (order(other[0]), seeds(other[1])):
        one = run.compare(mine, other)
        return one.live_b[one.table["best_of_a"]], one.table["r_of_a"]
    one = run.compare(other, mine)
    return one.live_a[one.table["best_of_b"]], one.table["r_of_b"]


def pick(run: Run, rule: str) -> pd.Series:
    """The row of `partners` (emerged: of `origins`) a rule chooses among features that fire on 0.1-5 % of the text and,
    but for `random`, are beyond the token; where there is none, among all.

    universal: the greatest least r over the other models; persisting: the median r into the child among those that
    persist there; nearest: r into the child closest to tau; vanished: found again by the seed twin (r >= tau) and least
    r into the child; emerged: likewise a feature of the child, by its least r from the parent; random: any, by the
    comparison's seed.
    """
    if rule not in RULES:
        raise ValueError(f"There is no rule {rule!r}; choose {', '.join(RULES)}.")
    frame, tau = origins(run) if rule == "emerged" else partners(run), run.lineage.comparison.tau
    share = frame["fires"] / len(run.comparison_text["block"])
    frame = frame[(share >= 0.001) & (share <= 0.05)] if ((share >= 0.001) & (share <= 0.05)).any() else frame
    if rule != "random" and frame["beyond_token"].any():
        frame = frame[frame["beyond_token"]]
    parent, child = ends(run)
    into, others = f"r_{child}", [f"r_{name}" for name in run.lineage.names if f"r_{name}" in frame]
    if rule == "random" or not others:
        return frame.iloc[np.random.default_rng(run.lineage.comparison.seed).integers(len(frame))]
    if rule == "universal":
        return frame.loc[frame[others].min(axis=1).idxmax()]
    if rule == "persisting":
        kept = frame[frame[into] >= tau] if (frame[into] >= tau).any() else frame
        return kept.sort_values(into, kind="stable").iloc[len(kept) // 2]
    if rule == "nearest":
        return frame.loc[(frame[into] - tau).abs().idxmin()]
    found = frame[frame["r_twin"] >= tau] if (frame["r_twin"] >= tau).any() else frame
    return found.loc[found[into if rule == "vanished" else f"r_{parent}"].idxmin()]


def looked_at(row: pd.Series) -> str:
    """Whether a feature is decided by the current token, or is one neuron."""
    return {(True, True): "beyond the token and single neurons", (True, False): "one neuron, beyond the token",
            (False, True): "decided by the current token",
            (False, False): "one neuron, decided by the current token"}[bool(row["beyond_token"]),
                                                                      bool(row["beyond_neuron"])]


def case(run: Run, rule: str, contexts: int = 2, width: int = 22) -> list[dict]:
    """Token heat-map cases for `plots.token_heatmap`: the chosen feature where it fires most, in every model."""
    row, text, names = pick(run, rule), run.comparison_text, run.lineage.names
    first, second = run.lineage.sae.seeds[:2]
    own = ends(run)[rule == "emerged"]
    home, away = (second, first) if rule == "emerged" else (first, second)
    columns = {name: run.features(name, home if name == own else away)[:, int(row[name])] for name in names}
    at = np.full(text["blocks"].shape, -1)
    at[text["block"], text["position"]] = np.arange(len(text["block"]))
    cases, seen = [], set()
    for token in features.top_tokens(columns[own].tocsc(), 0, 500):
        block, position = text["block"][token], text["position"][token]
        if text["document"][token] in seen or len(cases) == contexts:
            continue
        seen.add(text["document"][token])
        start = int(np.clip(position - width + 4, 0, max(0, text["blocks"].shape[1] - width)))
        ids, rows = text["blocks"][block, start:start + width], at[block, start:start + width]
        shown = {name: np.where(rows >= 0, column[np.maximum(rows, 0)].toarray().ravel(), 0)
                 for name, column in columns.items()}
        cases.append(dict(
            title=f"{rule}: {own} feature {int(row[own])}, context {len(cases) + 1} "
                  f"({run.lineage.domains[text['domain'][token]]})",
            rule=f"{described(run, rule)}; {looked_at(row)}; r with its seed twin {row['r_twin']:.2f}",
            tokens=[bpe.token_text(run.corpus.tokenizer, i) for i in ids], activations=shown,
            r={name: float(row[f"r_{name}"]) for name in names if name != own}, reference=own,
            r_twin=float(row["r_twin"]), feature={name: int(row[name]) for name in names}))
    return cases


def case_table(cases: list[dict]) -> pd.DataFrame:
    """The numbers behind token heat-maps, one row per token and model."""
    return pd.DataFrame([dict(case=case["title"], position=i, token=str(token),
                              model=name, feature=case["feature"][name], r=case["r"].get(name),
                              r_twin=case["r_twin"],
                              activation=case["activations"][name][i])
                         for case in cases for name in case["activations"] for i, token in enumerate(case["tokens"])])
