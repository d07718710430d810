"""Two finished runs of one lineage beside each other, to see what another processor's rounding changes.

    python -m benchmarks.check_processors figures ../other/figures > benchmarks/check_processors.json

Prints what each run was made with and, per rung of the ladder (one-to-one pairs), both shares and excess shares with
their intervals, whether each lies in the other's, and both ceilings and nulls of an edge. The intervals are over the
text's documents and the seeds of the SAEs of given models; other rounding, carried on by training, makes other models,
so a share may lie outside. Where both runs have controls, what they say of each stands side by side.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from unifeat.pipeline import readme

VALUES = {"observed": ("ci_low", "ci_high"), "excess": ("excess_low", "excess_high")}
BESIDE = ("ceiling", "null")


def compare(one: pd.DataFrame, other: pd.DataFrame) -> list[dict]:
    """Rows of two tables as ladder.csv is: comparison, value, and of both runs the value, its interval and `within`.

    >>> frame = pd.DataFrame(dict(group="edges", comparison="a → b", rule="one_to_one", observed=[0.5], ci_low=[0.4],
    ...                           ci_high=[0.6], excess=None, excess_low=None, excess_high=None, ceiling=0.9, null=0.0))
    >>> rows = compare(frame, frame.assign(observed=0.7, ci_high=0.8))
    >>> [(row["value"], row["within"], row["ceiling"]) for row in rows]
    [('observed', [True, False], [0.9, 0.9])]
    """
    both = one.merge(other, on=["group", "comparison", "rule"], suffixes=("", "_other"))
    rows = []
    for row in both[both["rule"] == "one_to_one"].to_dict("records"):
        beside = {name: [row[name], row[f"{name}_other"]] for name in BESIDE}
        edge = beside if pd.notna(list(beside.values())).all() else {}  # other rungs have none
        for value, (low, high) in VALUES.items():
            runs = [[row[name + end] for name in (value, low, high)] for end in ("", "_other")]
            if pd.notna(runs).all():
                (a, *first), (b, *second) = runs
                rows.append(dict(group=row["group"], comparison=row["comparison"], value=value, runs=runs,
                                 within=[second[0] <= a <= second[1], first[0] <= b <= first[1]], **edge))
    return rows


def main(folders: list[Path]) -> None:
    """Print the comparison of two folders of figures as JSON."""
    if len(folders) != 2:
        sys.exit(f"Two folders of figures are compared, not {len(folders)}; give both.")
    if absent := [path for path in folders if not (path / "manifest.json").is_file()]:
        sys.exit(f"{absent[0]} holds no manifest.json; give folders that `make figures` has written.")
    made = [json.loads((folder / "manifest.json").read_text(encoding="utf-8")) for folder in folders]
    if any(made[0].get(key) != made[1].get(key) for key in ("lineage", "corpora")):
        sys.exit(f"{folders[0]} and {folders[1]} are of different lineages or texts; compare two runs of one.")
    rows = compare(*(pd.read_csv(folder / "data" / "ladder.csv") for folder in folders))
    answers = list(zip(*(readme.answers(folder / "data") for folder in folders), strict=False))  # either may have none
    runs = [{key: one[key] for key in ("device", "commit")} for one in made]
    print(json.dumps(dict(runs=runs, controls=answers, rows=rows), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
