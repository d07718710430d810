"""What a run's tables say, part by part, as lines of Markdown; a part whose tables are missing is empty."""

import json
from pathlib import Path

import pandas as pd

from unifeat.pipeline import captions

RULE = "one_to_one"
RUNGS = dict(edge="edges", ceiling="seed ceiling", untrained="SAE of an untrained model", neurons="raw MLP neurons",
             rotated="null: activations rotated")  # how the groups of ladder.csv begin
ARROW = " → "


def table(folder: Path, name: str) -> pd.DataFrame | None:
    """data/<name>.csv of the run in `folder`; None where it was not written or has no rows."""
    path = folder / "data" / f"{name}.csv"
    frame = pd.read_csv(path) if path.is_file() else None
    return None if frame is None or frame.empty else frame


def rungs(folder: Path) -> dict[str, pd.DataFrame]:
    """ladder.csv by RUNGS, one-to-one rows, indexed by what is compared; {} where it compares no two models."""
    frame = table(folder, "ladder")
    if frame is None:
        return {}
    frame = frame[frame["rule"] == RULE].set_index("comparison")
    return {name: frame[frame["group"].str.startswith(start)] for name, start in RUNGS.items()}


def headline(folder: Path, tau: float) -> list[str]:
    """Of every compared pair the child's share, ceiling, two nulls and excess, and how many beat the harder null."""
    found = rungs(folder)
    if not found or found["edge"].empty:
        return ["This run compares no two models, so no feature can persist in it."]
    rows, above = [], 0
    for pair, row in found["edge"].iterrows():
        untrained = found["untrained"].loc[f"untrained{ARROW}{_child(pair)}"]
        above += bool(row["ci_low"] > untrained["ci_high"])
        rows.append([pair, share(row), share(row, "ceiling"), percent(row["null"]), share(untrained),
                     f"{row['excess']:.2f} [{row['excess_low']:.2f}, {row['excess_high']:.2f}]"])
    return [f"Share of the child's live features with a one-to-one partner in the parent (r ≥ {tau:g}; 95 % "
            "intervals):", "",
            *markdown("parent → child | observed | ceiling | null: tokens permuted | null: untrained model "
                      "| excess over permuted", rows),
            "",
            f"{above} of {len(rows)} shares lie clearly above what the child shares with the SAE of a *never trained* "
            "model." + " The others say little about training." * (above < len(rows))]


def beyond_neurons(folder: Path) -> list[str]:
    """A sentence on the first edge without the features that are one neuron."""
    frame = table(folder, "weights")
    if frame is None:
        return []
    row = frame[(frame["features"] == "beyond one neuron") & (frame["verdict"] == "r")].iloc[0]
    parent, child = row["edge"].split(ARROW)
    return [f"Part of every share is single MLP neurons, which nearly every SAE finds. Without them, {share(row)} of "
            f"the features of {child} persist from {parent} (ceiling {share(row, 'ceiling')}, null "
            f"{percent(row['null'])}, untrained model {percent(row['untrained'])})."]


def ladder(folder: Path) -> list[str]:
    """Every rung of every compared pair, and which null is the hardest."""
    found = rungs(folder)
    if not found or found["edge"].empty:
        return []
    rows = []
    for pair, row in found["edge"].iterrows():
        steps = (("rotated", f"{pair}, rotated"), ("untrained", f"untrained{ARROW}{_child(pair)}"),
                 ("neurons", f"neurons: {pair}"))
        rows.append([pair, percent(row["null"]), *(share(found[rung].loc[name]) if name in found[rung].index else ""
                                                   for rung, name in steps), share(row), share(row, "ceiling")])
    top = found["untrained"]["observed"].idxmax()
    most = {rung: percent(found[rung][column].max()) for rung, column in (("edge", "null"), ("rotated", "observed"))}
    return [f"Shares of the child's features. Permuted tokens give at most {most['edge']}, rotated activations at most "
            f"{most['rotated']}, and the SAE of an untrained model up to {share(found['untrained'].loc[top])} (of "
            f"{_child(top)}). So the untrained model is the null to beat. Raw neurons need no SAE: they say how far "
            "the two models themselves agree.", "",
            *markdown("parent → child | tokens permuted | activations rotated | untrained model | raw neurons "
                      "| this pair | ceiling", rows)]


def sides(folder: Path, tau: float) -> list[str]:
    """Both sides and both arms of every compared pair."""
    frame = table(folder, "persistence")
    if frame is None:
        return []
    frame = frame[(frame["rule"] == RULE) & ((frame["tau"] - tau).abs() < 1e-9)]
    rows = [[f"{row['parent']}{ARROW}{row['child']}", row["side"], row["arm"], share(row), percent(row["ceiling"]),
             percent(row["null"]), f"{row['excess']:.2f}"] for _, row in frame.iterrows()]
    order = list(dict.fromkeys(row[0] for row in rows))
    rows.sort(key=lambda row: order.index(row[0]))
    return ["A parent's feature without a partner disappears, a child's emerges. `controlled` compares SAEs from "
            "different seeds, `as_published` SAEs that started from the same weights.", "",
            *markdown("parent → child | side | arm | observed | ceiling | null | excess", rows)]


def weights(folder: Path) -> list[str]:
    """Shares by activations and by decoders, of all features and beyond one neuron."""
    frame = table(folder, "weights")
    if frame is None:
        return []
    rows = [[row["edge"], row["features"], f"{100 * row['share']:.0f} %", row["verdict"], share(row),
             share(row, "ceiling"), percent(row["null"]), percent(row["untrained"])]
            for _, row in frame[frame["matched_by"] == frame["verdict"]].iterrows()]
    return ["A feature is one neuron if the cosine of its decoder with that neuron's axis reaches the threshold. "
            "Fine-tuning leaves neurons in place. So the decoders of two models can be compared, and single neurons "
            "match by themselves. Shares are the child's.", "",
            *markdown("parent → child | features | part of all | matched by | observed | ceiling | null "
                      "| untrained model", rows)]


def models(folder: Path) -> list[str]:
    """Bits per byte of every model on every domain, and how far SLERP is from a straight line."""
    frame, sweep = table(folder, "models"), table(folder, "merge_sweep")
    if frame is None:
        return []
    frame = frame[frame["split"] == "validation"]
    wide = frame.pivot(index="model", columns="domain", values="bits_per_byte")
    wide = wide.loc[frame["model"].unique(), frame["domain"].unique()]
    lines = ["Held-out bits per byte. `ngram` is a Bayes mixture of Kneser-Ney models, one per domain of the text that "
             "the roots were trained on. Like the models, it is told no domain.", "",
             *markdown(" | ".join(["model", *wide.columns]), [[name, *(f"{value:.2f}" for value in row)]
                                                              for name, row in wide.iterrows()])]
    if sweep is not None and {"slerp", "lerp"} <= set(sweep["method"]):
        keys = [key for key in ("merge", "domain", "t") if key in sweep]
        both = sweep[sweep["method"] != "base"].pivot(index=keys, columns="method", values="accuracy")
        lines += ["", "At the same t, the accuracies of SLERP and of a straight line differ by at most "
                  f"{100 * (both['slerp'] - both['lerp']).abs().max():.1f} points."]
    return lines


def saes(folder: Path) -> list[str]:
    """Quality and ceiling of every model's SAEs."""
    frame, found = table(folder, "saes"), rungs(folder)
    if frame is None:
        return []
    ceilings = {name: share(row) for name, row in found["ceiling"].iterrows()} if found else {}
    if found:  # a child's as in the tables above, which count the features of both SAEs
        ceilings |= {_child(pair): share(row, "ceiling") for pair, row in found["edge"].iterrows()}
    rows = [[name, f"{part['width'].mean():,.0f}", f"{part['l0'].mean():.1f}", f"{part['fvu'].mean():.3f}",
             *(percent(part[f"ce_recovered_{kind}"].mean()) for kind in ("mean", "zero")),
             percent(part["dead_share"].max()), f"{part['live'].mean():,.0f}", ceilings.get(name, "")]
            for name, part in frame.groupby("model", sort=False)]
    return ["Means over the seeds; of dead latents the greatest share. The ceiling is what a second SAE of the same "
            "model finds again.", "",
            *markdown("model | latents | L0 | FVU | cross-entropy recovered (mean ablation) | (zero ablation) | dead "
                      "| live features | ceiling", rows)]


def explanations(folder: Path) -> list[str]:
    """Median scores by group."""
    frame = table(folder, "explanations")
    if frame is None:
        return []
    rows = [[*names, f"{len(part):,}", *(f"{part[score].median():.2f}" for score in ("simulation", "detection"))]
            for names, part in frame.groupby(["group", "kind", "explainer"], sort=False)]
    return ["Medians. An SAE of a random model can score higher than a trained one's: a good score does not show that "
            "a feature was learned.", "",
            *markdown("group | kind | explainer | features | simulation | detection", rows)]


def figures(folder: Path) -> list[str]:
    """Every figure with its caption and links to its tables, and the sentences on those left out."""
    drawn, lines = {path.stem for path in folder.glob("*.png")}, []
    for name in [*(name for name in captions.FIGURES if name in drawn), *sorted(drawn - captions.FIGURES.keys())]:
        title, caption = captions.FIGURES.get(name, (name, ""))
        record = folder / f"{name}.json"
        tables_ = json.loads(record.read_text(encoding="utf-8"))["data"] if record.is_file() else []
        links = ", ".join(f"[{Path(path).name}]({path})" for path in tables_)
        lines.append(" ".join(filter(None, (f"- [{title}]({name}.png).", caption, links and f"Numbers: {links}."))))
    return lines + [f"- Left out: {path.read_text(encoding='utf-8').strip()}" for path in sorted(folder.glob("*.txt"))]


def tables(folder: Path) -> list[str]:
    """What the columns of every table mean."""
    lines = ["In all tables:", "", *(f"- `{name}`: {what}." for name, what in captions.SHARED.items())]
    found = {}  # tables of one kind stand together
    for path in sorted((folder / "data").glob("*.csv")):
        what, columns = captions.TABLES.get(path.stem, ("", {}))
        own = "; ".join(f"`{name}`: {text}" for name, text in columns.items())
        text = " ".join(filter(None, (what, own and f"{own}.")))
        found.setdefault(text, []).append(f"[{path.name}](data/{path.name})")
    for text, links in found.items():
        lines += ["", f"**{', '.join(links)}** {text}".rstrip()]
    return lines if found else []


def _child(pair: str) -> str:
    return pair.split(ARROW)[-1]


def percent(value: float) -> str:
    """A share in per cent.

    >>> percent(0.0876)
    '8.8 %'
    """
    return "" if pd.isna(value) else f"{100 * value:.1f} %"


def share(row: pd.Series, name: str = "observed") -> str:
    """A share of a row with its interval: of the column `name`, or "observed" with its ends ci_low and ci_high."""
    low, high = ("ci_low", "ci_high") if name == "observed" else (f"{name}_low", f"{name}_high")
    return f"{percent(row[name])} [{100 * row[low]:.1f}, {100 * row[high]:.1f}]"


def markdown(heads: str, rows: list[list]) -> list[str]:
    """A table: heads as "a | b", rows of cells."""
    return [f"| {heads} |", "|" + "---|" * (heads.count(" | ") + 1),
            *(f"| {' | '.join(map(str, row))} |" for row in rows)]
