"""README's and figures' numbers, written from the tables."""

from pathlib import Path

import pandas as pd

from unifeat.lineage.settings import MODELS
from unifeat.studies import controls, sae_recipes, weight_matching
from unifeat.support import store


def answers(data: Path) -> list[str]:
    """What notebook 09 says of each control, from its tables in the folder `data`; nothing where it has not run."""
    if not (data / "control_frontier.csv").is_file():
        return []
    tables = {name: pd.read_csv(data / f"control_{name}.csv") for name in ("initialization", *CONTROLS, "frontier")}
    return [controls.answer_initialization(tables["initialization"]),
            *(controls.answer(tables[name], title) for name, title in CONTROLS.items()),
            sae_recipes.answer(tables["frontier"])]


def _neurons(frame: pd.DataFrame) -> str:
    """What single neurons have to do with the shares, from weights.csv."""
    rest = frame[(frame["features"] == weight_matching.FEATURES[1]) & (frame["verdict"] == "r")].drop_duplicates("edge")
    alone = {edge.split()[-1]: f"{1 - share:.0%}" for edge, share in zip(rest["edge"], rest["share"], strict=True)}
    return ("Part of every share, ceilings included, is the neurons themselves: a feature that is one MLP neuron "
            "(decoder within a cosine of 0.8 of its axis) is found again by nearly every SAE, and "
            f"{', '.join(f'{share} of the features of {name}' for name, share in alone.items())} are of that kind. "
            f"{weight_matching.answer(frame)}")


CONTROLS = dict(thresholds="Threshold", densities="Firing density (log10)", mixes="Text of the probe",
                kinds="Kind of SAE", sizes="Size of the dictionary (latents per neuron)",
                lengths="Length of training (M activations)", models="Seed of the language model")

MARKERS = ("<!-- results: written by `make notebooks` from figures/data, checked by the tests -->",
           "<!-- end of results -->")


def results(folder: Path, tau: float = 0.8) -> str:
    """The README's results, as Markdown, from the tables under `folder`/data."""
    frame, models, saes = (pd.read_csv(folder / "data" / f"{name}.csv") for name in ("persistence", "models", "saes"))
    frame = frame[(frame["tau"] == tau) & (frame["rule"] == "one_to_one")]
    ceilings = {row.parent if row.side == "parent" else row.child: row.ceiling for row in frame.itertuples()}
    frame = frame[frame["side"] == "child"]
    published = frame[frame["arm"] == "as_published"].set_index(["parent", "child"])["observed"]
    lines = ["Share of the child's live features with a one-to-one partner in the parent at r >= 0.8:", "",
             "| from -> to | observed [95 % interval] | seed ceiling | null | excess | same initial weights |",
             "|---|---|---|---|---|---|"]
    for row in frame[frame["arm"] == "controlled"].itertuples():
        lines.append(f"| {row.parent} -> {row.child} | {row.observed:.1%} [{row.ci_low:.1%}, {row.ci_high:.1%}] | "
                     f"{row.ceiling:.1%} | {row.null:.1%} | {row.excess:.2f} | "
                     f"{published[row.parent, row.child]:.1%} |")
    rungs = pd.read_csv(folder / "data" / "ladder.csv")
    rungs = rungs[(rungs["group"] == "SAE of an untrained model") & (rungs["rule"] == "one_to_one")]
    least, most = rungs["observed"].min(), rungs["observed"].max()
    lines += ["", "Read the small shares with the ladder: an SAE of a language model that was *never trained* already "
              f"shares {least:.1%}-{most:.1%} of the four models' features at the same threshold, so permuted tokens "
              "are too easy a null, and a share of this size says little about what training taught."]
    lines += ["", _neurons(pd.read_csv(folder / "data" / "weights.csv"))]
    own = models[(models["split"] == "validation") & models["model"].isin(["base", "ngram"])]
    bits = own.pivot(index="model", columns="domain", values="bits_per_byte")
    children = models[models["split"] == "validation"].set_index(["model", "domain"])["bits_per_byte"]
    lines += ["", f"Held-out bits per byte: base {bits.loc['base', 'english']:.2f} English and "
              f"{bits.loc['base', 'python']:.2f} Python (Kneser-Ney 5-gram: {bits.loc['ngram', 'english']:.2f} and "
              f"{bits.loc['ngram', 'python']:.2f}), Stories child {children['stories', 'stories']:.2f} on stories, Lua "
              f"child {children['lua', 'lua']:.2f} on Lua. SAEs: L0 {saes['l0'].min():.1f}-{saes['l0'].max():.1f}, "
              f"cross-entropy recovered {saes['ce_recovered_mean'].min():.1%}-{saes['ce_recovered_mean'].max():.1%} "
              f"against mean ablation, dead latents at most {saes['dead_share'].max():.1%}; seed ceilings "
              f"{', '.join(f'{name} {ceilings[name]:.1%}' for name in MODELS)}."]
    if said := answers(folder / "data"):
        lines += ["", "The controls (`make controls`, notebook 9), on the edge base -> lua. Excess is (observed - "
                  "null) / (ceiling - null), with its 95 % interval. Kinds, sizes and lengths are "
                  "compared on SAEs trained for less, with lower ceilings. Tables: `figures/data/control_*.csv`.", "",
                  *(f"- {sentence}" for sentence in said)]
    return "\n".join(lines) + "\n"


def refresh_readme(readme: Path, folder: Path) -> None:
    """Put `results` between the README's two markers."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    store.write_text(readme, f"{before}{MARKERS[0]}\n{results(folder)}{MARKERS[1]}{after}")
