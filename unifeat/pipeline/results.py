"""What a run's tables say, part by part, as lines of Markdown; a part whose tables are missing is empty."""

import json
from functools import partial
from pathlib import Path

import pandas as pd

from unifeat.pipeline import captions, columns, verdict

RULE = "one_to_one"
RUNGS = dict(edge="edges", untrained="SAE of an untrained model", neurons="raw MLP neurons",
             rotated="null: activations rotated",
             permuted="null: tokens permuted")  # how the groups of ladder.csv begin
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


def persisting(folder: Path, tau: float, arm: str = "controlled") -> pd.DataFrame:
    """persistence.csv, one-to-one at tau in one arm, with the column pair; no rows where it compares no two models."""
    frame = table(folder, "persistence")
    if frame is None:
        return pd.DataFrame()
    frame = frame[(frame["rule"] == RULE) & ((frame["tau"] - tau).abs() < 1e-9) & (frame["arm"] == arm)]
    return frame.assign(pair=frame["parent"] + ARROW + frame["child"])


def headline(folder: Path, tau: float) -> list[str]:
    """Of every compared pair the share of both sides with ceiling, nulls and excess: of all features, and beyond both
    the token and single neurons; then the answer in three sentences."""
    frame = persisting(folder, tau)
    if frame.empty:
        return ["This run compares no two models, so no feature can persist in it."]
    frame = frame[frame["side"] == "both"]
    rows = [[row["pair"], FEATURES[row["features"]], *_cells(row)] for _, row in frame.iterrows()
            if row["features"] in ("all", "beyond_both")]
    return [f"Share of live features with a one-to-one partner (r ≥ {tau:g}; geometric mean of the parent's and the "
            "child's share; 95 % intervals over documents and SAE seeds):", "",
            *markdown(f"parent → child | features | {CELLS}", rows), "", verdict.answer(partial(table, folder), frame)]


CELLS = "observed | ceiling | null: permuted within the token | null: untrained model | excess"
FEATURES = dict(all="all", beyond_token="beyond the token", beyond_neuron="beyond one neuron",
                beyond_both="beyond token and neuron", found_again="that every seed finds")


def _cells(row: pd.Series) -> list[str]:
    """The cells of CELLS."""
    return [share(row), share(row, "ceiling"), percent(row["null"]), percent(row["null_untrained"]),
            "" if pd.isna(row["excess"]) else
            f"{row['excess']:.2f} [{row['excess_low']:.2f}, {row['excess_high']:.2f}]"]


def ladder(folder: Path) -> list[str]:
    """Every rung of every compared pair, and which null is the hardest."""
    found = rungs(folder)
    if not found or found["edge"].empty:
        return []
    rows = []
    for pair, row in found["edge"].iterrows():
        steps = (("permuted", f"{pair}, permuted"), ("rotated", f"{pair}, rotated"),
                 ("untrained", f"untrained{ARROW}{_child(pair)}"), ("neurons", f"neurons: {pair}"))
        cells = {rung: share(found[rung].loc[name]) if name in found[rung].index else "" for rung, name in steps}
        rows.append([pair, cells["permuted"], cells["rotated"], percent(row["null"]), cells["untrained"],
                     cells["neurons"], share(row), share(row, "ceiling")])
    edges, untrained = found["edge"], found["untrained"]["observed"]
    hard = ("a never trained model" if untrained.max() > edges["null"].max() else "permuting within the token")
    most = {rung: percent(found[rung]["observed"].max()) for rung in ("permuted", "rotated", "untrained")}
    return [f"Shares of the child's features. Tokens permuted give at most {most['permuted']}, rotated activations "
            f"{most['rotated']}, activations that trade places within their token {percent(edges['null'].max())}, and "
            f"the SAE of a never trained model {most['untrained']}. So {hard} is the null to beat. Raw neurons need no "
            "SAE: they say how far the two models themselves agree.", "",
            *markdown("parent → child | tokens permuted | activations rotated | permuted within the token "
                      "| untrained model | raw neurons | this pair | ceiling", rows)]


def features(folder: Path, tau: float) -> list[str]:
    """Of every compared pair all sides and sets of features."""
    frame = persisting(folder, tau)
    if frame.empty:
        return []
    rows = [[row["pair"], row["side"], FEATURES[row["features"]], *_cells(row)] for _, row in frame.iterrows()]
    return ["Both is the geometric mean of the two sides: where one SAE misses features that its model has, one side "
            "says too much and the other too little. A feature is beyond the token if its mean given the current token "
            "does not predict it (r below the threshold, on held-out documents), and beyond one neuron if its decoder "
            "lies along no axis of what the SAE reads. Features that every seed finds have no ceiling: they are what a "
            "second SAE finds again.", "",
            *markdown(f"parent → child | side | features | {CELLS}", rows)]


def arms(folder: Path, tau: float) -> list[str]:
    """Both arms of every compared pair, all features."""
    frames = [persisting(folder, tau, arm) for arm in ("controlled", "as_published")]
    if any(frame.empty for frame in frames):
        return []
    frame = pd.concat(frames)
    frame = frame[(frame["features"] == "all") & (frame["side"] == "both")].sort_values("pair", kind="stable")
    rows = [[row["pair"], row["arm"], share(row), percent(row["ceiling"]), percent(row["null"]),
             f"{row['excess']:.2f} [{row['excess_low']:.2f}, {row['excess_high']:.2f}]"] for _, row in frame.iterrows()]
    return ["`controlled`: the SAEs of all models read one common text and start from different weights. "
            "`as_published`: each model's SAEs read the model's own text, are of the kind in the lineage's table "
            "`published`, and start from the same weights.", "",
            *markdown("parent → child | arm | observed | ceiling | null | excess", rows)]


def functional(folder: Path) -> list[str]:
    """Shares by activation, by function and by both, of every edge."""
    frame = table(folder, "functional")
    if frame is None:
        return []
    rows = [[row["edge"], row["verdict"], f"{row['pairs']:,}", share(row), share(row, "ceiling"), percent(row["null"]),
             percent(row["next_best"])] for _, row in frame.iterrows()]
    return ["Shares of the child's features. A feature persists by function if its partner, put in its place in the "
            "child's model, brings back half of what taking it out changes, and more than another feature of the "
            "parent does. Two SAEs of the child's model give the ceiling.", "",
            *markdown("parent → child | verdict | pairs tried | observed | ceiling | null: a stranger "
                      "| the next best feature", rows)]


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


def saes(folder: Path, tau: float) -> list[str]:
    """Quality and ceiling of every model's SAEs, by arm."""
    frame = table(folder, "saes")
    if frame is None:
        return []
    rows = []
    for (arm, name), part in frame.groupby(["arm", "model"], sort=False):
        rows.append([arm, name, part["kind"].iloc[0], f"{part['width'].mean():,.0f}", f"{part['l0'].mean():.1f}",
                     f"{part['fvu'].mean():.3f}", percent(part["ce_recovered_mean"].mean()),
                     percent(part["ce_recovered_zero"].mean()), percent(part["dead_share"].max()),
                     f"{part['live'].mean():,.0f}", _ceiling(folder, tau, arm, name)])
    return ["Means over the seeds; of dead latents the greatest share. The ceiling is what a second SAE of the same "
            "model finds again.", "",
            *markdown("arm | model | kind | latents | L0 | FVU | cross-entropy recovered (mean ablation) "
                      "| (zero ablation) | dead | live features | ceiling", rows)]


def _ceiling(folder: Path, tau: float, arm: str, name: str) -> str:
    """The ceiling of a model's SAEs in one arm, from the first pair that it belongs to."""
    frame = persisting(folder, tau, arm)
    for side in () if frame.empty else ("parent", "child"):
        found = frame[(frame[side] == name) & (frame["side"] == side) & (frame["features"] == "all")]
        if len(found):
            return share(found.iloc[0], "ceiling")
    return ""


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
    lines = ["In all tables:", "", *(f"- `{name}`: {what}." for name, what in columns.SHARED.items())]
    found = {}  # tables of one kind stand together
    for path in sorted((folder / "data").glob("*.csv")):
        what, named = columns.TABLES.get(path.stem, ("", {}))
        own = "; ".join(f"`{name}`: {text}" for name, text in named.items())
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
