"""The results: per machine a figure (speed.pdf, speed.png) and a table (speed.md), of all the table in README.md."""

import json
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks import harness, machine
from unifeat.plots import style
from unifeat.support import paths, store

MARKERS = ("<!-- speed: written by `make bench` from benchmarks/results -->", "<!-- end of speed -->")
SIZES = {"smoke": ("#8A8A8A", "v"), "laptop": ("#0072B2", "o"), "paper": ("#D55E00", "s")}
UNITS = ((1e6, " M"), (1e3, " k"), (0, ""))


def load(folder: Path) -> dict[str, dict]:
    """{name: result} of every .json in `folder`."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def share(found: dict, limits: dict) -> float:
    """Share of the measured matrix product's rate that our training reaches, by its count of operations."""
    rate = "tokens_per_s" if "operations_per_token" in found["settings"] else "activations_per_s"
    operations = found["settings"].get("operations_per_token") or found["settings"]["operations"]
    limit = limits[f"gemm_{found['machine']['dtype']}"] * 1e12
    return operations * found["rows"][0][rate] / limit


def training(results: dict, kind: str) -> list[dict]:
    """The results `kind`_<size>, the laptop's before the paper's."""
    return [results[f"{kind}_{size}"] for size in SIZES if f"{kind}_{size}" in results]


def limited(results: dict) -> str:
    """The machine and its limits, in a line."""
    limits, here = machine.limits(results["machine"]), results["machine"]["machine"]
    size, gpu = results["machine"]["settings"]["n"], f", {here['gpu']}" if here["gpu"] else ""
    return (f"Measured on {here['processor']}, {here['cores']} cores{gpu}: matrix product of {size:,}^3 at "
            f"{limits['gemm_float32']:.2f} TFLOP/s in float32 and {limits['gemm_bfloat16']:.2f} in bfloat16, "
            f"memory at {limits['triad']:.0f} GB/s (triad)")


def rows(results: dict) -> list[dict]:
    """Every job against each peer, in the tables' order: job, own (rate or time), what, theirs, ratio, quality."""
    limits, out = machine.limits(results["machine"]), []
    for kind, what, rate, quality in (("lm", "language model", "tokens_per_s", "loss"),
                                      ("sae", "SAE", "activations_per_s", "fvu")):
        for found in training(results, kind):
            first, *others = found["rows"]
            own = f"{first[rate]:,.0f} {rate.split('_')[0]}/s, {share(found, limits):.0%} of the product's rate"
            out += [dict(job=f"{what}, {found['settings']['size']}", own=own, what=row["what"],
                         theirs=f"{row[rate]:,.0f}", ratio=f"{row['ratio']:.1f}",
                         quality=None if row["void"] else f"{quality} {first[quality]:.3f} / {row[quality]:.3f}")
                    for row in others if "error" not in row]
    if "sae_stream" in results:
        one, four = results["sae_stream"]["rows"]
        out.append(dict(job="four SAEs on one stream", own=f"{one['seconds']:.1f} s", what=four["what"],
                        theirs=f"{four['seconds']:.1f} s", ratio=f"{four['ratio']:.2f}", quality="the same SAEs"))
    if "matching" in results:
        s, (own, *others) = results["matching"]["settings"], results["matching"]["rows"]
        job = f"correlations, {s['n']:,} x {s['n']:,}, {style.short(s['tokens'])} tokens, L0 {s['l0'][0]}-{s['l0'][1]}"
        out += [dict(job=job, own=f"{own['seconds']:.0f} s, {own['peak_gib']:.1f} GiB",
                     what=f"{row['what']}, {row['how']}", theirs=f"{row['seconds']:,.0f} s",
                     ratio=f"{row['ratio']:,.0f}", quality=None if own["void"] else f"error {own['max_error']:.0e}")
                for row in others]
    if "features" in results:
        found = results["features"]["rows"]
        last = {row["what"]: row for row in found if row["tokens"] == found[-1]["tokens"]}
        own, alone = last["encoding, densities, top contexts"], last["encoding alone"]
        loop = last["loop over stored latents"]
        out.append(dict(job=f"densities and top contexts, {style.short(own['tokens'])} tokens",
                        own=f"{own['seconds']:.0f} s (encoding alone {alone['seconds']:.0f} s)",
                        what=f"{loop['what']}, extrapolated", theirs=f"{loop['seconds']:,.0f} s",
                        ratio=f"{loop['ratio']:,.0f}", quality="the same"))
    return out


def table(results: dict) -> str:
    """Markdown: what one machine can do, then every job against its peers, at their defaults and tuned."""
    lines = [f"{limited(results)}. A ratio over 1 means that ours is faster.", "",
             "| job | ours | against | theirs | ratio | equal quality |", "|---|---|---|---|---|---|"]
    before = None
    for row in rows(results):
        own = f"| {row['job']} | {row['own']} " if row["job"] != before else "|  |  "
        lines.append(f"{own}| {row['what']} | {row['theirs']} | {row['ratio']} | {row['quality'] or '**void**'} |")
        before = row["job"]
    errors = [f"{row['what']} ({name.rpartition('_')[2]}): {row['error']}" for name, found in results.items()
              for row in found["rows"] if "error" in row]
    return "\n".join(lines + [""] * bool(errors) + [f"Did not run here: {error}." for error in errors]) + "\n"


def summary(machines: dict[str, dict]) -> str:
    """Markdown: a column per machine, {folder: results}, with our rate of every job and its ratio to each peer's."""
    cells = {}
    for name, results in machines.items():
        for row in rows(results):
            job = cells.setdefault(row["job"], {"": {}})  # "": ours
            job[""][name] = row["own"]
            job.setdefault(row["what"], {})[name] = row["ratio"] if row["quality"] else "**void**"
    titles = [harness.short(results["machine"]["machine"]) for results in machines.values()]
    lines = [f"| job | ours, and its ratio to | {' | '.join(titles)} |", "|---|---|" + "---|" * len(titles)]
    for job, peers in cells.items():
        lines += [f"| {'' if what else job} | {what or '**ours**'} | {' | '.join(own.get(n, '') for n in machines)} |"
                  for what, own in peers.items()]
    notes = [f"- {limited(results)}: [figure](results/{name}/speed.pdf), "
             f"[table](results/{name}/speed.md) with the peers' rates and losses."
             for name, results in machines.items()]
    return "\n".join([*lines, "", *notes]) + "\n"


@style.styled
def draw(results: dict) -> style.Picture:
    """Rates against the peers above, what they depend on below."""
    limits = machine.limits(results["machine"])
    note = ("Per cent: share of that product's rate. Hollow: quality is not equal within 1 %, the ratio is void. Dense "
            "product, double loop and loop over features are extrapolated from a slice.")
    fig = style.picture(5.0, f"{limited(results)}. {note}")
    grid = fig.add_gridspec(2, 1)
    top, bottom = grid[0].subgridspec(1, 2).subplots(), grid[1].subgridspec(1, 4).subplots()
    _rates(top[0], training(results, "lm"), "tokens_per_s", "Language model: tokens/s", limits)
    _rates(top[1], training(results, "sae"), "activations_per_s", "SAE: activations/s", limits)
    _bars(bottom[0], results["matching"])
    _scaling(bottom[1], results["matching_scaling"]["rows"])
    widths, features = results["sae_widths"], results["features"]["rows"]
    bottom[2].plot([row["width"] for row in widths["rows"]], [row["seconds_per_million"] for row in widths["rows"]],
                   "o-", color=SIZES["laptop"][0])
    _axes(bottom[2], f"SAE of {widths['settings']['d']} inputs", "latents", "seconds per M activations")
    for what, color, marker, label in (("loop over stored latents", "#D55E00", "^", "loop over features"),
                                       ("encoding, densities, top contexts", "#0072B2", "s", "one pass"),
                                       ("encoding alone", "#009E73", "o", "encoding alone")):
        rows = [row for row in features if row["what"] == what]
        bottom[3].plot([row["tokens"] for row in rows], [row["seconds"] for row in rows], marker=marker, color=color,
                       label=label)
    _axes(bottom[3], "Density, contexts", "tokens", "seconds")
    return fig


def _rates(ax, found: list[dict], rate: str, title: str, limits: dict) -> None:
    """Dots per variant on a logarithmic axis, one colour and marker per size; ours with its share of the limit."""
    names = [row["what"] for row in found[0]["rows"]]
    for result in found:
        size = result["settings"]["size"]
        color, marker = SIZES[size]
        rows = [row for row in result["rows"] if "error" not in row]
        for row in rows:
            ax.plot(row[rate], names.index(row["what"]), marker, color=color,
                    markerfacecolor="white" if row["void"] else color)
        ax.plot([], [], marker, color=color, label=f"{size} size")
        ax.annotate(f"{share(result, limits):.0%}", (rows[0][rate], 0), (0, 5), textcoords="offset points",
                    ha="center", color=style.ink(color), fontsize=6)
    ax.set_yticks(range(len(names)), [name.replace(", tuned", "").replace("dictionary_", "dict._") for name in names],
                  fontsize=6)
    ax.set_ylim(len(names) - 0.5, -0.9)
    ax.grid(axis="y", color="#EEEEEE", linewidth=0.5)
    ax.set_title(title)
    _logarithmic(ax, "x", fine=True)
    ax.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(found), handletextpad=0.2)


def _bars(ax, found: dict) -> None:
    """Seconds of the correlations as bars on a logarithmic axis."""
    rows = found["rows"]
    ax.barh(range(len(rows)), [row["seconds"] for row in rows], 0.4,
            color=["#0072B2", *["#BBBBBB"] * (len(rows) - 1)])
    for i, row in enumerate(rows):
        ratio = f" ({row['ratio']:,.0f}x)" if i else ""
        ax.annotate(f"{row['what']}\n{row['seconds']:,.0f} s{ratio}", (0, i - 0.2), (2, 1),
                    xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=6, va="bottom")
    _logarithmic(ax, "x")
    ax.set_xlim(left=min(1, rows[0]["seconds"] / 2))
    ax.set_yticks([])
    ax.set_ylim(len(rows) - 0.6, -0.8)
    ax.set_title(f"{found['settings']['n']:,}² correlations")
    ax.set_xlabel("seconds")


def _scaling(ax, rows: list[dict]) -> None:
    """Time of the correlations against tokens, features and L0, each over its own middle value."""
    for by, color, marker, name in (("tokens", "#0072B2", "o", "tokens"), ("features", "#D55E00", "s", "features"),
                                    ("l0", "#009E73", "^", "L0")):
        own = [row for row in rows if row["by"] == by]
        middle = own[len(own) // 2]
        ax.plot([row["value"] / middle["value"] for row in own], [row["seconds"] for row in own], marker=marker,
                color=color, label=f"{middle['value']:,} {name}")
    _axes(ax, "Correlations", "times the legend's", "seconds", fine=True)


def _axes(ax, title: str, x: str, y: str, fine: bool = False) -> None:
    """Logarithmic axes with their labels, and a legend where there is something to tell apart."""
    _logarithmic(ax, "xy", fine)
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    if ax.get_legend_handles_labels()[0]:
        low, high = np.log(ax.get_ylim())
        ax.set_ylim(top=np.exp(high + 0.4 * (high - low)))  # room for the legend
        ax.legend(fontsize=6, loc="upper left")


def _logarithmic(ax, which: str, fine: bool = False) -> None:
    """Logarithmic axes `which` ("x" or "xy") with ticks at powers of ten, if `fine` also at 2 and 5 times these."""
    for axis in (getattr(ax, f"{name}axis") for name in which):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        low, high = axis.get_data_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if fine or high < 20 * low else (1,), numticks=6))
        axis.set_major_formatter(lambda value, _: next(f"{value / (size or 1):g}{unit}" for size, unit in UNITS
                                                       if value >= size))
        axis.set_minor_formatter(NullFormatter())


def refresh(readme: Path, text: str) -> None:
    """Put `text` between the README's two markers."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    store.write_text(readme, f"{before}{MARKERS[0]}\n{text}{MARKERS[1]}{after}")


def run() -> None:
    """Figure and table of this machine's results, and README.md's table of all; QUICK=1 prints its table instead."""
    folder = harness.results()
    found = load(folder)
    style.write(draw(found), folder / "speed")
    if harness.quick():
        harness.say(table(found))
        return
    store.write_text(folder / "speed.md", table(found))
    machines = {path.name: load(path) for path in sorted(folder.parent.iterdir())}
    refresh(Path(__file__).with_name("README.md"), summary(machines))
    harness.say(f"{paths.relative(folder)}/speed.pdf, speed.md and benchmarks/README.md written")
