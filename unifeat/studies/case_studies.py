"""Case studies: features chosen by rule, and the contexts in which they fire most."""

import numpy as np
import pandas as pd

from unifeat.lineage.run import Run
from unifeat.lineage.settings import DOMAINS, MODELS
from unifeat.sae import features
from unifeat.text import tokenizer

RULES = {
    "universal": "rule: greatest least r over the other three models",
    "persisting": "rule: median r into Lua among those with r ≥ tau",
    "nearest": "rule: r into Lua nearest to tau",
    "vanished": "rule: found again by the base's own seed twin, least r into Lua",
    "emerged": "rule: a Lua feature found again by Lua's own seed twin, least r from the base",
    "random": "rule: drawn at random, for honesty",
}


def partners(run: Run) -> pd.DataFrame:
    """Each live feature of the first base SAE with its best match and r in every model, and its seed twin's r.

    Base features are compared with SAEs of another seed, so no shared initial weights help.
    """
    first, second = run.profile.sae.seeds[:2]
    frame = pd.DataFrame(dict(base=run.live("base", first)))
    twin = run.compare(("base", first), ("base", second)).table
    frame["r_twin"] = twin["r_of_a"]
    for name in MODELS[1:]:
        one = run.compare(("base", first), (name, second))
        frame[name], frame[f"r_{name}"] = one.live_b[one.table["best_of_a"]], one.table["r_of_a"]
    frame["fires"] = features.fires(run.features("base", first))[frame["base"]]
    return frame


def origins(run: Run) -> pd.DataFrame:
    """As `partners`, from the child's side: each live feature of the second Lua SAE with its best matches.

    r_twin is its best match in the first SAE of Lua; base and stories are compared with SAEs of another seed.
    """
    first, second = run.profile.sae.seeds[:2]
    frame = pd.DataFrame(dict(lua=run.live("lua", second)))
    frame["r_twin"] = run.compare(("lua", first), ("lua", second)).table["r_of_b"]
    one = run.compare(("base", first), ("lua", second))
    frame["base"], frame["r_base"] = one.live_a[one.table["best_of_b"]], one.table["r_of_b"]
    one = run.compare(("lua", second), ("merged", first))
    frame["merged"], frame["r_merged"] = one.live_b[one.table["best_of_a"]], one.table["r_of_a"]
    one = run.compare(("lua", second), ("stories", first))
    frame["stories"], frame["r_stories"] = one.live_b[one.table["best_of_a"]], one.table["r_of_a"]
    frame["fires"] = features.fires(run.features("lua", second))[frame["lua"]]
    return frame


def pick(run: Run, rule: str) -> pd.Series:
    """The row of `partners` (emerged: of `origins`) a rule chooses among features that fire on 0.1-5 % of the probe.

    universal: the greatest least r over the three other models; persisting: the median r into Lua among those
    that persist there; nearest: r into Lua closest to tau; vanished: found again by the seed twin (r >= tau)
    and least r into Lua; emerged: likewise a Lua feature, by its least r from the base; random: any, by the
    probe's seed.
    """
    frame, tau = origins(run) if rule == "emerged" else partners(run), run.profile.probe.tau
    share = frame["fires"] / len(run.probe["block"])
    frame = frame[(share >= 0.001) & (share <= 0.05)] if ((share >= 0.001) & (share <= 0.05)).any() else frame
    if rule == "universal":
        return frame.loc[frame[[f"r_{name}" for name in MODELS[1:]]].min(axis=1).idxmax()]
    if rule == "persisting":
        kept = frame[frame["r_lua"] >= tau] if (frame["r_lua"] >= tau).any() else frame
        return kept.sort_values("r_lua", kind="stable").iloc[len(kept) // 2]
    if rule == "nearest":
        return frame.loc[(frame["r_lua"] - tau).abs().idxmin()]
    if rule in ("vanished", "emerged"):
        found = frame[frame["r_twin"] >= tau] if (frame["r_twin"] >= tau).any() else frame
        return found.loc[found["r_lua" if rule == "vanished" else "r_base"].idxmin()]
    if rule == "random":
        return frame.iloc[np.random.default_rng(run.profile.probe.seed).integers(len(frame))]
    raise ValueError(f"There is no rule {rule!r}; choose {', '.join(RULES)}.")


def case(run: Run, rule: str, contexts: int = 2, width: int = 22) -> list[dict]:
    """Token heat-map cases for `plots.token_heatmap`: the chosen feature where it fires most, in four models."""
    row, probe = pick(run, rule), run.probe
    first, second = run.profile.sae.seeds[:2]
    own = "lua" if rule == "emerged" else "base"
    home, away = (second, first) if own == "lua" else (first, second)
    columns = {name: run.features(name, home if name == own else away)[:, int(row[name])] for name in MODELS}
    at = np.full(probe["blocks"].shape, -1)
    at[probe["block"], probe["position"]] = np.arange(len(probe["block"]))
    cases, seen = [], set()
    for token in features.top_tokens(columns[own].tocsc(), 0, 500):
        block, position = probe["block"][token], probe["position"][token]
        if probe["document"][token] in seen or len(cases) == contexts:
            continue
        seen.add(probe["document"][token])
        start = int(np.clip(position - width + 4, 0, probe["blocks"].shape[1] - width))
        ids, rows = probe["blocks"][block, start:start + width], at[block, start:start + width]
        shown = {name: np.where(rows >= 0, column[np.maximum(rows, 0)].toarray().ravel(), 0)
                 for name, column in columns.items()}
        cases.append(dict(
            title=f"{rule}: {own} feature {int(row[own])}, context {len(cases) + 1} "
                  f"({DOMAINS[probe['domain'][token]]})",
            rule=f"{RULES[rule]}; r with its seed twin {row['r_twin']:.2f}",
            tokens=[tokenizer.token_text(run.corpus.tokenizer, i) for i in ids], activations=shown,
            r={name: float(row[f"r_{name}"]) for name in MODELS if name != own}, reference=own,
            r_twin=float(row["r_twin"]),
            feature={name: int(row[name]) for name in MODELS}))
    return cases


def case_table(cases: list[dict]) -> pd.DataFrame:
    """The numbers behind token heat-maps, one row per token and model."""
    return pd.DataFrame([dict(case=case["title"], position=i, token=str(token),
                              model=name, feature=case["feature"][name], r=case["r"].get(name),
                              r_twin=case["r_twin"],
                              activation=case["activations"][name][i])
                         for case in cases for name in MODELS for i, token in enumerate(case["tokens"])])
