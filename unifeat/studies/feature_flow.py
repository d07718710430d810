"""Features that persist, emerge and disappear along each edge, counted."""

import numpy as np
import pandas as pd

from unifeat.lineage.run import Run
from unifeat.studies.persistence import seed_pairs

COLUMNS = ["source", "target", "kind", "features", "share"]


def flow(run: Run, rule: str = "one_to_one", arm: str = "controlled") -> pd.DataFrame:
    """flow.csv: features that persist, emerge and disappear along each edge; counts are means over the seed pairs of
    `arm`.

    A model with several parents has its features split by which parents they match (source "both" or, of more than
    two, "several"; "<parent> only"; "new"); one with several children by where they persist (target likewise, or
    "neither"). share: of the target's live features, or of the source's where features disappear or are split by fate.
    """
    tau, p, rows = run.lineage.comparison.tau, run.lineage, []
    for a, b in seed_pairs(run, arm):
        kept = {}
        for parent, child in p.edges:
            one = run.compare((parent, a), (child, b))
            kept[parent, child] = one.kept(rule, tau)
            for kind, side, has in (("persist", 1, True), ("emerge", 1, False), ("disappear", 0, False)):
                mask = kept[parent, child][side] == has
                rows.append((parent, child, kind, mask.sum(), mask.mean()))
        for name in p.names:
            masks = {parent: kept[parent, name][1] for parent in p.parents(name)}
            rows += [(origin, name, "emerge" if origin == "new" else "persist", mask.sum(), mask.mean())
                     for origin, mask in _split(masks, "new")]
        for name in p.names:
            masks = {child: kept[name, child][0] for child in p.children(name)}
            rows += [(name, fate, "disappear" if fate == "neither" else "persist", mask.sum(), mask.mean())
                     for fate, mask in _split(masks, "neither")]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.groupby(["source", "target", "kind"], sort=False, as_index=False).mean()


def _split(masks: dict[str, np.ndarray], none: str):
    """Features by which of several models they match: (label, mask), every feature in one; nothing for one model."""
    if len(masks) < 2:
        return
    count = np.sum(list(masks.values()), axis=0)
    yield "both" if len(masks) == 2 else "several", count > 1
    for name, mask in masks.items():
        yield f"{name} only", mask & (count == 1)
    yield none, count == 0
