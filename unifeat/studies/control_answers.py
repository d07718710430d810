"""The sentences over the figures of notebook 09, computed from the tables of `controls` alone."""

import pandas as pd

from unifeat.studies import differences

MATTERS = "it matters"


def answer(frame: pd.DataFrame, what: str) -> str:
    """One sentence: whether the variants of a table differ, and the two that differ most.

    They differ where the interval of a difference, corrected for all pairs of variants, leaves out 0.
    """
    rows = frame.dropna(subset=["excess"])
    if "matched" in rows and not rows["matched"].all():
        what += f" (not at matched L0: {', '.join(rows.loc[~rows['matched'], 'x'])}, left out)"
        rows = rows[rows["matched"]]
    if len(rows) < 2:
        return f"{what}: too few variants could be measured to compare them."
    if not _compared(rows):
        low, high = (_stated(rows.loc[at()]) for at in (rows["excess"].idxmin, rows["excess"].idxmax))
        return f"{what}: {_untold(rows)}; excess persistence lies between {low} and {high}."
    row = _most(rows)
    ends = [_stated(one) for _, one in rows[(rows.index == row.name) | (rows["x"] == row["versus"])].iterrows()]
    verdict = MATTERS if apart(row) else "no difference can be told"
    return f"{what}: {verdict}; excess persistence differs most between {' and '.join(ends)}, by {_difference(row)}."


def answer_initialization(frame: pd.DataFrame) -> str:
    """One sentence: on how many edges the two arms differ, and the edge where they differ most."""
    shared = frame[frame["x"] == "shared"].set_index("edge")
    same = f"{100 * shared['same_index'].mean():.0f} % of the shared arm's pairs have the same index."
    if not _compared(shared):
        change = frame.pivot(index="edge", columns="x", values="excess")
        edge, by = (change["shared"] - change["independent"]).abs().idxmax(), ""
        told = f"{_untold(shared)}; the arms lie furthest apart"
    else:
        row = _most(shared)
        edge, by = row.name, f", by {_difference(row)}"
        count = sum(apart(one) for _, one in shared.iterrows())
        told = f"excess persistence differs on {count} of {len(shared)} edges, most"
    arms = frame[frame["edge"] == edge].set_index("x")
    ends = [_stated(arms.loc[arm], f"with {arm}") for arm in ("independent", "shared")]
    return f"Shared initialization: {told} on {edge}, from {ends[0]} to {ends[1]} initial weights{by}; {same}"


def _compared(rows: pd.DataFrame) -> bool:
    return "difference_low" in rows and bool(rows["difference_low"].notna().any())


def _untold(rows: pd.DataFrame) -> str:
    """Why no variant was compared with another."""
    if "replicates" not in rows:
        return "no difference can be told, since the table holds no comparison over SAE seeds"
    if rows["replicates"].min() >= differences.FEWEST:
        return "no difference can be told, since too few variants could be measured on every resample"
    return (f"no difference can be told over {rows['replicates'].min():.0f} SAE seeds, where it takes "
            f"{differences.FEWEST}")


def _most(rows: pd.DataFrame) -> pd.Series:
    """The row whose difference is the greatest beside its interval."""
    half = (rows["difference_high"] - rows["difference_low"]) / 2
    return rows.loc[(rows["difference"].abs() / half.clip(lower=1e-12)).idxmax()]


def apart(row: pd.Series) -> bool:
    """Whether the corrected interval of the row's difference leaves out 0."""
    return bool(row["difference_low"] > 0 or row["difference_high"] < 0)


def _difference(row: pd.Series) -> str:
    """How far the row's pair is apart, told as positive, with the corrected interval."""
    low, high = row["difference_low"], row["difference_high"]
    if row["difference"] < 0:
        low, high = -high, -low
    pairs = "1 comparison" if row["comparisons"] == 1 else f"{row['comparisons']:.0f} comparisons"
    return (f"{100 * abs(row['difference']):.1f} points [{100 * low:.1f}, {100 * high:.1f}] (corrected for {pairs}; "
            f"{row['replicates']:.0f} SAE seeds)")


def _stated(row, where: str = "") -> str:
    """An excess with its interval, where it was found, and what it is made of."""
    parts = ", ".join(f"{name} {100 * row[name]:.1f} %" for name in ("observed", "ceiling", "null"))
    return (f"{100 * row['excess']:.0f} % [{100 * row['excess_low']:.0f}, {100 * row['excess_high']:.0f}] "
            f"{where or 'at ' + _name(row)} ({parts})")


def _name(row) -> str:
    return row["x"] if isinstance(row["x"], str) else f"{row['x']:.3g}"
