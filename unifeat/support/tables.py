"""Tables as the store and figures/data keep them: text, floats rounded."""

from pathlib import Path

import pandas as pd


def csv(frame: pd.DataFrame) -> str:
    """A table as text, floats rounded to 6 digits."""
    return frame.round(6).to_csv(index=False, lineterminator="\n")


def write(folder: Path, rows: list[dict], columns: list[str]) -> None:
    """Rows as folder/table.csv, with these columns in this order."""
    (folder / "table.csv").write_text(csv(pd.DataFrame(rows, columns=columns)), encoding="utf-8")


def read(artefact) -> pd.DataFrame:
    """The table of a `store.Artefact` that `write` was used in."""
    return pd.read_csv(artefact.folder / "table.csv")
