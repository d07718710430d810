"""Features that persist, emerge and disappear along each edge, counted."""

import pandas as pd

from unifeat.lineage.run import Run
from unifeat.studies.persistence import EDGES, seed_pairs


def flow(run: Run, rule: str = "one_to_one", arm: str = "controlled") -> pd.DataFrame:
    """flow.csv: features that persist, emerge and disappear along each edge, and the merge's by origin.

    Counts are means over the seed pairs of `arm`; features of a child are split by which parents they match.
    """
    rows = []
    tau = run.profile.probe.tau
    for a, b in seed_pairs(run, arm):
        kept = {}
        for parent, child in EDGES[:4]:
            one = run.compare((parent, a), (child, b))
            kept[parent, child] = one.kept(rule, tau)
            for kind, side, has in (("persist", 1, True), ("emerge", 1, False), ("disappear", 0, False)):
                mask = kept[parent, child][side] == has
                rows.append((parent, child, kind, mask.sum(), mask.mean()))
        lua, stories = kept["lua", "merged"][1], kept["stories", "merged"][1]
        for origin, mask in (("both", lua & stories), ("lua only", lua & ~stories),
                             ("stories only", stories & ~lua), ("new", ~lua & ~stories)):
            rows.append((origin, "merged", "emerge" if origin == "new" else "persist", mask.sum(), mask.mean()))
        lua, stories = kept["base", "lua"][0], kept["base", "stories"][0]
        for fate, mask in (("both", lua & stories), ("lua only", lua & ~stories),
                           ("stories only", stories & ~lua), ("neither", ~lua & ~stories)):
            rows.append(("base", fate, "disappear" if fate == "neither" else "persist", mask.sum(), mask.mean()))
    frame = pd.DataFrame(rows, columns=["source", "target", "kind", "features", "share"])
    return frame.groupby(["source", "target", "kind"], sort=False, as_index=False).mean()
