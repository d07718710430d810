"""Tables of all edges as one."""

import pandas as pd


def by_edge(frames: dict[tuple[str, str], pd.DataFrame], columns) -> pd.DataFrame:
    """Frames by (parent, child) below one another, with the edge as first column; `columns` are those of each frame.

    >>> by_edge({("a", "b"): pd.DataFrame(dict(r=[0.5]))}, ["r"]).values.tolist(), by_edge({}, ["r"]).columns.tolist()
    ([['a → b', 0.5]], ['edge', 'r'])
    """
    if not frames:
        return pd.DataFrame(columns=["edge", *columns]).astype({name: float for name in columns if name != "verdict"})
    stacked = pd.concat({" → ".join(edge): frame for edge, frame in frames.items()}, names=["edge"])
    return stacked.reset_index("edge")
