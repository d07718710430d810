"""Whether this machine's run agrees with the committed one: its headline numbers beside theirs."""

from pathlib import Path

import pandas as pd

from unifeat.pipeline import results

COLUMNS = ["edge", "number", "value", "low", "high"]
NUMBERS = {"observed": ("ci_low", "ci_high"), "excess": ("excess_low", "excess_high")}


def numbers(folder: Path, tau: float) -> pd.DataFrame:
    """The headline numbers of the run in `folder`: per compared pair the share of both sides and its excess, of all
    features and of those beyond token and neuron.

    Columns edge, number (such as "observed, all"), value, low, high (95 %, over documents and SAE seeds).
    """
    rows = results.persisting(folder, tau)
    rows = rows[(rows["side"] == "both") & rows["features"].isin(["all", "beyond_both"])] if len(rows) else rows
    return pd.DataFrame([(row["pair"], f"{name}, {results.FEATURES[row['features']]}", row[name], row[low], row[high])
                         for _, row in rows.iterrows() for name, (low, high) in NUMBERS.items()], columns=COLUMNS)


def agreement(here: pd.DataFrame, committed: pd.DataFrame) -> list[str]:
    """A line per headline number: this run's and the committed one's, and whether their intervals overlap.

    >>> one = pd.DataFrame([("a → b", "observed", 0.1, 0.08, 0.12)], columns=COLUMNS)
    >>> agreement(one, one.assign(value=0.13, low=0.11, high=0.15))
    ['a → b, observed: 10.0 % [8.0, 12.0] here, 13.0 % [11.0, 15.0] committed: agree']
    """
    lines = []
    both = here.merge(committed, on=["edge", "number"], suffixes=("", "_committed"))
    for row in both.itertuples():
        same = row.low <= row.high_committed and row.low_committed <= row.high
        lines.append(f"{row.edge}, {row.number}: {_stated(row.value, row.low, row.high)} here, "
                     f"{_stated(row.value_committed, row.low_committed, row.high_committed)} committed: "
                     f"{'agree' if same else 'DIFFER'}")
    return lines


def _stated(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
