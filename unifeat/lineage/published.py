"""The sweep along a merge that a paper's authors published: a CSV that a lineage names, drawn beside this run's own.

It makes no model and changes no number of the run.
"""

import csv
import math
from pathlib import Path

from unifeat.lineage.complaints import shown
from unifeat.lineage.lineage import Lineage
from unifeat.lineage.settings import LineageError
from unifeat.support.errors import reason

FOLDER = Path(__file__).parent / "profiles"
COLUMNS = ["t", "domain", "loss_nats", "accuracy"]


def rows(name: str) -> list[dict]:
    """Rows of a published sweep: t (0 is the merge's first parent), domain, loss_nats (per token), accuracy (a share).

    name: an absolute path, or a file among the shipped profiles.

    Raises:
        ValueError: the file is missing, or its columns or values are others; the words say which.
    """
    try:
        with open(FOLDER / name, encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            if table.fieldnames != COLUMNS:
                raise ValueError(f"has the columns {shown(','.join(table.fieldnames or []))}")
            return [_row(line, table.line_num) for line in table]
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"is no CSV ({reason(error).rstrip('.')})") from error


def _row(line: dict, number: int) -> dict:
    try:
        out = dict(line, **{key: float(line[key]) for key in COLUMNS if key != "domain"})
        fine = 0 <= out["t"] <= 1 and 0 < out["accuracy"] <= 1 and math.isfinite(out["loss_nats"])
    except (TypeError, ValueError):  # a field too few, or no number
        fine = False
    if not fine or None in line:
        raise ValueError(f"has a line {number} in which t or accuracy is no share, or loss_nats no number")
    return out


def check(p: Lineage) -> None:
    """Refuse a published sweep that cannot stand beside the run's own.

    Raises:
        LineageError: it cannot be read, or does not run from 0 to 1 on every domain of both parents.
    """
    for name, one in p.models.items():
        if one.published_sweep:
            try:
                _covers(rows(one.published_sweep), [d for parent in one.origins for d in p.mix(parent)[0]])
            except ValueError as error:
                raise LineageError(
                    f"{p.name}.models.{name}.published_sweep: {Path(one.published_sweep).name} {error}; give a CSV "
                    f"with the columns {','.join(COLUMNS)} and rows from t = 0 to 1 for each of the parents' domains, "
                    'or write published_sweep = "".') from error


def _covers(found: list[dict], domains: list[str]) -> None:
    """Every domain has the same t, once each, both ends included: a parent's own accuracy is at its end."""
    at = {domain: [row["t"] for row in found if row["domain"] == domain] for domain in domains}
    for domain, values in at.items():
        if not {0.0, 1.0} <= set(values) or len(set(values)) < len(values):
            raise ValueError(f"has not both ends, and every t once, for the domain {shown(domain)}")
        if sorted(values) != sorted(at[domains[0]]):
            raise ValueError(f"has other t for {shown(domain)} than for {shown(domains[0])}")
