"""The answer to the question of what persists, in sentences written from a run's tables."""

from collections.abc import Callable

import pandas as pd


def answer(table: Callable, frame: pd.DataFrame) -> str:
    """What persists, what of it is cheap, and what this run cannot say; frame: `results.persisting`, side both.

    table(name): a table of the run, or None.
    """
    part = {name: frame[frame["features"] == name] for name in ("all", "beyond_both")}
    (every, rest), hard = part.values(), part["all"]["null_untrained"]
    gain = _gains(table, every)
    return (f"In the {len(every)} compared pairs {span(every['observed'])} of all features persist, where a second SAE "
            f"of the same model finds {span(every['ceiling'])} again: {span(every['excess'])} of the way from the null "
            f"to the ceiling. Much of this is cheap, since {span(every['null'])} stay when activations trade places "
            f"within their token and {span(hard)} are shared with the SAE of a never trained model; beyond what the "
            f"token or one neuron decides, {span(rest['observed'])} of a ceiling of {span(rest['ceiling'])} persist, "
            f"and the untrained model shares {span(rest['null_untrained'])}. {gain}")


def _gains(table: Callable, edges: pd.DataFrame) -> str:
    """How much was learned from the roots: the domain that gained most, and the one that lost most."""
    frame, parts = table("models"), []
    loss = frame[frame["split"] == "validation"].pivot(index="model", columns="domain", values="loss_nats")
    for parent, child in zip(edges["parent"], edges["child"], strict=True):
        if parent not in set(edges["child"]):
            gain = loss.loc[parent] - loss.loc[child]
            parts.append(f"{child} gains {gain.max():.2f} nats on {gain.idxmax()} and loses {max(-gain.min(), 0):.2f} "
                         f"on {gain.idxmin()}")
    return (f"Behind this stand one training of each model and one dose of it ({'; '.join(parts)})"
            + "".join(f"; {text}" for text in _elsewhere(table)) + ".")


def _elsewhere(table: Callable) -> list[str]:
    """What the studies found at other seeds of the language models and at other doses, where they have run."""
    seeds, doses, parts = table("replicates"), table("dose"), []
    if seeds is not None:
        rows = seeds[(seeds["side"] == "both") & (seeds["features"] == "all")]
        count = rows.loc[rows["model_seed"] != "all", "model_seed"].nunique()
        rows = rows[rows["model_seed"] == "all"]
        parts.append(f"with shorter SAEs, over {count} seeds of the language models, the edges keep "
                     f"{span(rows['observed'])} of {span(rows['ceiling'])}")
    if doses is not None:
        rows = doses[(doses["side"] == "both") & (doses["features"] == "all")]
        mean = rows[rows["dose"] == rows["dose"].max()].groupby("child")[["observed", "ceiling"]].mean()
        parts.append(f"at {rows['dose'].max():g} times the dose {span(mean['observed'])} of {span(mean['ceiling'])}")
    return parts


def span(values: pd.Series) -> str:
    """Least and greatest share in per cent.

    >>> span(pd.Series([0.651, 0.724])), span(pd.Series([0.501, 0.499]))
    ('65–72 %', '50 %')
    """
    low, high = (f"{100 * value:.0f}" for value in (values.min(), values.max()))
    return f"{low} %" if low == high else f"{low}–{high} %"
