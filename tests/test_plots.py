"""Every figure from made-up frames: texts, colors, gaps in the data, and the same bytes every time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from unifeat import plots
from unifeat.plots import style
from unifeat.plots.tokens import show
from unifeat.studies import weight_matching

DOMAINS = ("english", "python", "stories", "lua")
MODELS = ("base", "lua", "stories", "merged")
EDGES = (("base", "lua"), ("base", "stories"), ("lua", "merged"), ("stories", "merged"))
NOTE = "laptop profile; corpora: embedded stand-ins; probe 131 k tokens, 1,024 blocks per domain"


def stats_frame():
    sources = ("Wikipedia vital-article summaries, embedded stand-in",
               "sympy, networkx and django, embedded stand-in",
               "King James narrative, embedded stand-in", "Neovim runtime, embedded stand-in")
    sizes = ((10033, 4.9e6), (2210, 11.2e6), (1189, 4.1e6), (156, 2.8e6))
    rows = []
    for domain, source, (documents, size) in zip(DOMAINS, sources, sizes, strict=True):
        for split, share in (("train", 0.95), ("validation", 0.05)):
            rows.append((domain, split, source, round(documents * share), size * share, size * share / 3.4))
    return pd.DataFrame(rows, columns=["domain", "split", "source", "documents", "bytes", "tokens"])


def logs_frame():
    rng, rows = np.random.default_rng(0), []
    own = {"base": ("english", "python"), "lua": ("lua",), "stories": ("stories",)}
    for model, start in (("base", 8.3), ("lua", 4.6), ("stories", 4.2)):
        tokens = np.arange(200) * 32768
        losses = 2.9 + (start - 2.9) * np.exp(-np.arange(200) / 30) + rng.normal(0, 0.06, 200)
        rows += [(model, s, t, "train", None, x) for s, (t, x) in enumerate(zip(tokens, losses, strict=True))]
        for k, domain in enumerate(DOMAINS):
            for s in range(0, 200, 20):
                drift = -1.2 * s / 200 if domain in own[model] or model == "base" else 0.5 * s / 200
                fall = (start - 4) * np.exp(-s / 30) if model == "base" else 0
                rows.append((model, s, s * 32768, "validation", domain, 4 + 0.13 * k + drift + fall))
    return pd.DataFrame(rows, columns=["model", "step", "tokens", "split", "domain", "loss"])


def models_frame():
    rng, rows = np.random.default_rng(1), []
    own = {"base": ("english", "python"), "lua": ("lua",), "stories": ("stories",),
           "merged": ("lua", "stories")}
    for model in (*MODELS, "ngram"):
        for domain in DOMAINS:
            loss = 3.1 + rng.uniform(0, 0.2) + (0 if domain in own.get(model, ()) else 0.8)
            accuracy = np.nan if model == "ngram" else 0.42 - (0.08 if loss > 3.6 else 0)
            rows.append((model, domain, "validation", 131072, 450_000, loss, accuracy, loss / 1.95))
    return pd.DataFrame(rows, columns=["model", "domain", "split", "tokens", "bytes", "loss_nats", "accuracy",
                                       "bits_per_byte"])


def sweep_frame():
    rows, models = [], models_frame().set_index(["model", "domain"])
    for method, bump in (("slerp", 0.35), ("lerp", 0.45)):
        for t in np.linspace(0, 1, 21):
            for domain in DOMAINS:
                lua, stories = models.loc[("lua", domain)], models.loc[("stories", domain)]
                hill = bump * t * (1 - t)
                rows.append((method, t, domain, (1 - t) * lua.loss_nats + t * stories.loss_nats + hill,
                             (1 - t) * lua.accuracy + t * stories.accuracy - 0.1 * hill))
    return pd.DataFrame(rows, columns=["method", "t", "domain", "loss_nats", "accuracy"])


def summary():
    data = {"base": "Wikipedia summaries + Python packages, embedded stand-in",
            "lua": "Neovim runtime, embedded stand-in", "stories": "King James narrative, embedded stand-in"}
    models = {name: {"data": data[name], "tokens": 6_400_000, "loss": 3.10, "accuracy": 0.419}
              for name in data}
    models["merged"] = {"data": None, "tokens": None, "loss": 3.4, "accuracy": 0.388}
    return {"model": {"parameters": 2_951_000, "d_model": 256, "d_mlp": 512, "vocab": 4096}, "models": models,
            "saes": {name: {"kind": "batchtopk", "width": 2048, "l0": 32.04, "live": 1987}
                     for name in MODELS},
            "merge": {"t": 0.47}}


def flow_frame():
    lives = {"base": 1987, "lua": 1902, "stories": 1941, "merged": 1955}
    kept = {("base", "lua"): 391, ("base", "stories"): 274, ("lua", "merged"): 551,
            ("stories", "merged"): 498}
    rows = []
    for (source, target), n in kept.items():
        rows += [(source, target, "persist", n, n / lives[target]),
                 (source, target, "emerge", lives[target] - n, 1 - n / lives[target]),
                 (source, target, "disappear", lives[source] - n, 1 - n / lives[source])]
    for part, n in (("both", 180), ("lua only", 371), ("stories only", 318), ("new", 1086)):
        rows.append((part, "merged", "emerge" if part == "new" else "persist", n, n / lives["merged"]))
    for part, n in (("both", 150), ("lua only", 241), ("stories only", 124), ("neither", 1472)):
        rows.append(("base", part, "disappear" if part == "neither" else "persist", n, n / lives["base"]))
    return pd.DataFrame(rows, columns=["source", "target", "kind", "features", "share"])


def curve_frame():
    rows = []
    for k, (parent, child) in enumerate(EDGES):
        for side in ("child", "parent"):
            for tau in np.round(np.linspace(0, 1, 51), 2):
                observed = 1 / (1 + np.exp(9 * (tau - 0.55 - 0.03 * k)))
                rows.append((parent, child, side, "one_to_one", tau, observed, observed - 0.02,
                             observed + 0.02,
                             1 / (1 + np.exp(9 * (tau - 0.85))), np.exp(-60 * tau)))
    return pd.DataFrame(rows,
                        columns=["parent", "child", "side", "rule", "tau", "observed", "ci_low", "ci_high",
                                       "ceiling", "null"])


def persistence_frame():
    rows = curve_frame().query("tau == 0.8").assign(arm="independent", n_parent=1987, n_child=1902)
    rows["excess"] = (rows["observed"] - rows["null"]) / (rows["ceiling"] - rows["null"])
    return rows[["arm", "parent", "child", "side", "rule", "tau", "n_parent", "n_child", "observed", "ci_low",
                 "ci_high", "ceiling", "null", "excess"]]


def ladder_frame():
    rng, frames = np.random.default_rng(2), []
    groups = {"Parent to child": [(f"{a} → {b}", 5, 4) for a, b in EDGES] + [("lua → stories", 3, 5)],
              "Seed ceiling": [(f"{model}, two seeds", 8, 2.5) for model in MODELS],
              "Null": [("base → lua, tokens permuted", 2, 18), ("base → lua, activations rotated", 3, 15)]}
    for group, rows in groups.items():
        for name, a, b in rows:
            frames.append(pd.DataFrame({"comparison": name, "group": f"{group}", "r": rng.beta(a, b, 1900)}))
    return pd.concat(frames, ignore_index=True).assign(
        group=lambda f: f["group"].replace({"Seed ceiling": "Seed ceiling (same model)"}))


def cases():
    rng = np.random.default_rng(3)
    code = ["local", " options", " =", " {", "}", "\n", "        ", "for", " key", ",", " value", " in",
            " pairs", "(",
            "defaults", ")", " do", "\n", "\t\t", "options", "[", "key", "]", " =", " user", "_",
            "configuration",
            "[", "key", "]", " or", " value"]
    tale = ["And", " the", " king", " said", " unto", " his", " servants", ",", " Come", " ye", ",", "\n",
            "and", " let",
            " us", " go", " forth", " —", b" caf\xc3", b"\xa9", " 中", " into", " the", " city", ";",
            " uncharacteristically",
            " they", " went"]
    made = []
    for k, (title, tokens) in enumerate((("Universal: assignment", code), ("Near the threshold", tale),
                                         ("Vanished in Lua", code), ("Only in the merge", tale))):
        signal = np.array([6.0 if token in (" =", ",") else 0.0 for token in tokens])
        activations = {model: np.maximum(signal + rng.normal(0, 0.8, len(tokens)), 0) for model in MODELS}
        r, feature = dict.fromkeys(MODELS, 0.93), {model: 100 * k + i for i, model in enumerate(MODELS)}
        r["base"] = float("nan")
        if k == 2:
            activations["lua"], r["lua"], feature["lua"] = np.zeros(len(tokens)), 0.31, 7
        if k == 3:
            activations["base"], feature["base"] = None, None
        made.append({"title": title,
                     "rule": "rule: highest mean r over the three pairs with base, ties by firing count",
                     "tokens": tokens, "activations": activations, "r": r, "feature": feature,
                     "reference": "lua" if k == 3 else "base"})
    return made


def saes_frame():
    rng, rows = np.random.default_rng(4), []
    for model in MODELS:
        for arm, seed in (("independent", 0), ("independent", 1), ("shared", 0)):
            rows.append((model, "batchtopk", seed, arm, 2048, 32 + rng.normal(0, 0.3),
                         0.12 + rng.normal(0, 0.006),
                         0.965 + rng.normal(0, 0.004), 0.985 + rng.normal(0, 0.002),
                         abs(rng.normal(0.02, 0.006)), 1980))
    return pd.DataFrame(rows,
                        columns=["model", "kind", "seed", "arm", "width", "l0", "fvu", "ce_recovered_mean",
                                       "ce_recovered_zero", "dead_share", "live"])


def density_frame():
    rng = np.random.default_rng(5)
    frames = [pd.DataFrame({"model": model, "seed": seed,
                            "log10_density": np.append(rng.normal(-2.2, 0.5, 2000), [-np.inf] * 48)})
              for model in MODELS for seed in (0, 1)]
    return pd.concat(frames, ignore_index=True)


def history_frame():
    tokens = np.linspace(1e5, 6e6, 40)
    return pd.concat([pd.DataFrame({"model": model, "seed": seed, "tokens": tokens,
                                    "fvu": 0.12 + 0.01 * k + 0.5 * np.exp(-tokens / (6e5 + 1e5 * seed))})
                      for k, model in enumerate(MODELS) for seed in (0, 1)], ignore_index=True)


def verdict_frames():
    rng, found, causal, rows = np.random.default_rng(6), {}, {}, []
    for edge in EDGES:
        r = rng.uniform(0, 1, 300)
        found[edge] = pd.DataFrame(dict(r=r) | {name: r * rng.uniform(0.5, 1, 300) for name in weight_matching.VERDICTS})
        causal[edge] = pd.DataFrame(dict(r=r[:60], agreement=r[:60] ** 2, random=rng.normal(0, 0.05, 60)))
        rows += [dict(edge=" → ".join(edge), features=group, matched_by=by, verdict=verdict, observed=0.4, ci_low=0.37,
                      ci_high=0.43, ceiling=0.75, null=0.36 if group == "all" else 0.0, share=0.6, excess=0.53)
                 for group in weight_matching.FEATURES for by, verdict in weight_matching.ROWS]
    return found, causal, pd.DataFrame(rows)


FIGURES = {
    "corpora": lambda: plots.corpora(stats_frame(), note=NOTE),
    "loss_curves": lambda: plots.loss_curves(logs_frame(), note=NOTE),
    "domain_matrix": lambda: plots.domain_matrix(models_frame(), note=NOTE),
    "fig5_merge_sweep": lambda: plots.merge_sweep(sweep_frame(), models_frame(), picked=0.47, note=NOTE),
    "fig1_design": lambda: plots.design(summary(), note=NOTE),
    "fig2_flow": lambda: plots.flow(flow_frame(), persistence_frame(), curve_frame(), verdict_frames()[2],
                                    note=NOTE),
    "ladder": lambda: plots.ladder(ladder_frame(), note=NOTE),
    "fig3_universal": lambda: plots.token_heatmap(cases(), note=NOTE),
    "sae_card": lambda: plots.sae_card(saes_frame(), density_frame(), history_frame(), note=NOTE),
    "verdicts": lambda: plots.verdicts(*verdict_frames(), note=NOTE),
}


def texts(fig) -> str:
    """Everything a reader of the figure can read, one text a line."""
    return "\n".join(text.get_text() for text in fig.findobj(mpl.text.Text) if text.get_visible())


def drawn_colors(fig) -> set:
    """Colors of all lines, patches, collections and texts, as #rrggbb."""
    found = [line.get_color() for line in fig.findobj(mpl.lines.Line2D)]
    found += [patch.get_facecolor() for patch in fig.findobj(mpl.patches.Patch)]
    found += [patch.get_edgecolor() for patch in fig.findobj(mpl.patches.Patch)]
    return {to_hex(color).upper() for color in found if not isinstance(color, str) or color != "none"}


def assert_inside(fig):
    """No text is cut off by the edge of the page."""
    renderer = fig.canvas.get_renderer()
    page = fig.bbox.padded(1.0)
    for text in fig.findobj(mpl.text.Text):
        if text.get_text().strip() and text.get_visible() and text.axes is not None:
            box = text.get_window_extent(renderer)
            assert page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1), text.get_text()


@pytest.fixture(scope="module")
def figures():
    return {name: draw() for name, draw in FIGURES.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_comes_back_whole(figures, name):
    fig = figures[name]
    assert isinstance(fig, Figure) and fig.get_figwidth() == style.WIDTH
    assert NOTE in texts(fig).replace("\n", " ")
    assert "nan" not in texts(fig).lower().replace("finance", "") and "inf" not in texts(fig).lower().split()
    visible = [ax for ax in fig.axes if ax.axison]
    if name not in ("fig1_design", "fig3_universal"):
        shared = {fig.get_supxlabel(), *(ax.get_xlabel() for ax in visible)}
        assert any(shared - {""}) and any(ax.get_ylabel() or ax.get_yticklabels() for ax in visible)
    assert_inside(fig)


def test_every_verdict_shows_its_ceiling_and_null_on_every_edge(figures):
    """Per panel, edge and group of features: a line from null to ceiling, and the observed mark between."""
    panels = figures["verdicts"].axes[4:]
    assert len(panels) == len(weight_matching.ROWS)
    for ax in panels:
        marks = [(line.get_marker(), float(line.get_xdata()[0])) for line in ax.lines if line.get_marker() != "None"]
        assert sorted(marks) == sorted([("D", 75.0), ("o", 40.0)] * 8 + [("|", 36.0), ("|", 0.0)] * 4)


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_input_gives_the_same_bytes(figures, name, tmp_path):
    first = plots.write(figures[name], tmp_path / "first")
    again = plots.write(figures[name], tmp_path / "again")
    fresh = plots.write(FIGURES[name](), tmp_path / "fresh")
    for one, two, three in zip(first, again, fresh, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.suffix == ".pdf" or one.read_bytes() == three.read_bytes()
    assert first[0].read_bytes().replace(b"first", b"") == fresh[0].read_bytes().replace(b"fresh", b"")
    assert first[0].read_bytes().startswith(b"%PDF") and b"CreationDate" not in first[0].read_bytes()
    assert b"Software" not in first[1].read_bytes() and b"tIME" not in first[1].read_bytes()


def test_bytes_do_not_depend_on_the_process(figures, tmp_path):
    """Another hash seed, another time zone, another matplotlibrc: the same files."""
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import test_plots as t; from unifeat import plots\n"
            "pair = ('fig2_flow', 'sae_card'); "
            "[plots.write(t.FIGURES[name](), t.Path(sys.argv[2]) / name) for name in pair]")
    settings = tmp_path / "matplotlibrc"
    settings.write_text("font.size: 15\nlines.linewidth: 4\naxes.grid: True\n")
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "MATPLOTLIBRC": str(settings)}
    tests = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code, str(tests), str(tmp_path)], check=True, env=env,
                   cwd=tests.parent)
    for name in ("fig2_flow", "sae_card"):
        for path in plots.write(figures[name], tmp_path / "here" / name):
            assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_an_unchanged_file_is_left_alone(figures, tmp_path):
    pdf, png = plots.write(figures["corpora"], tmp_path / "deep" / "corpora.v1")
    assert (pdf.name, png.name) == ("corpora.v1.pdf", "corpora.v1.png")
    before = png.stat().st_mtime_ns
    plots.write(figures["corpora"], tmp_path / "deep" / "corpora.v1")
    assert png.stat().st_mtime_ns == before and len(list((tmp_path / "deep").iterdir())) == 2


def test_the_reader_s_settings_are_neither_used_nor_changed():
    with mpl.rc_context({"font.size": 20, "axes.grid": True}):
        before = dict(mpl.rcParams)
        figure = FIGURES["corpora"]()
        assert dict(mpl.rcParams) == before
    assert style._render(figure, "png") == style._render(FIGURES["corpora"](), "png")
    assert "matplotlib.pyplot" not in sys.modules or not mpl.pyplot.get_fignums()


def test_each_model_keeps_its_color(figures):
    assert len(set(plots.MODEL_COLORS.values()) | set(plots.DOMAIN_COLORS.values())) == 8
    for name in ("fig1_design", "fig2_flow", "fig3_universal", "sae_card"):
        assert {color.upper() for color in plots.MODEL_COLORS.values()} <= drawn_colors(figures[name]), name
    assert {color.upper() for color in plots.DOMAIN_COLORS.values()} <= drawn_colors(figures["corpora"])


def test_the_flow_prints_counts_shares_ceiling_and_null(figures):
    text = texts(figures["fig2_flow"])
    for expected in ("391 (21 %)", "1,511 (79 %)", "1,351 (71 %)", "from both\n180 (9 %)",
                     "new\n1,086 (56 %)",
                     "neither\n1,472 (74 %)", "1,987 live", "ceiling", "null", "excess", "61.1 %",
                     "[7.5, 11.5]",
                     "r ≥ 0.8, one-to-one, independent", "Base → Lua", "Stories → Merged"):
        assert expected in text, expected


def test_the_flow_has_columns_for_features_beyond_one_neuron_where_they_are_given(figures):
    extra = ("not one neuron", "40.0 % [37.0, 43.0]", " 53 %", "(60 %, 60 %, 60 %, 60 % of the child's features)")
    without = texts(plots.flow(flow_frame(), persistence_frame(), curve_frame()))
    assert all(one in " ".join(texts(figures["fig2_flow"]).split()) and one not in without for one in extra)


def test_the_flow_of_nothing_is_a_figure():
    empty = plots.flow(flow_frame()[:0], persistence_frame()[:0], curve_frame()[:0], verdict_frames()[2][:0])
    assert "no live features" in texts(empty) and "nan" not in texts(empty).lower()
    zero = flow_frame().assign(features=0, share=np.nan)
    holes = ["observed", "ci_low", "ci_high", "ceiling", "null"]
    curve, rows = curve_frame(), persistence_frame()
    curve[holes] = rows[[*holes, "excess"]] = np.nan
    rows[[*holes, "excess"]] = np.nan
    fig = plots.flow(zero, rows, curve)
    assert "nan" not in texts(fig).lower() and texts(fig).count("–") >= 24


def test_the_flow_without_the_fate_of_base_claims_no_overlap():
    fig = plots.flow(flow_frame().query("source != 'base' or target in ('lua', 'stories')"),
                     persistence_frame(),
                     curve_frame())
    assert "neither" not in texts(fig) and "391 (21 %)" in texts(fig)
    assert_inside(fig)


def test_everything_persists_or_one_model_is_dead():
    rows = [("base", "lua", "persist", 50, 1.0), ("base", "lua", "disappear", 0, 0.0),
            ("base", "stories", "disappear", 50, 1.0), ("lua", "merged", "persist", 50, 1.0),
            ("lua only", "merged", "persist", 50, 1.0)]
    fig = plots.flow(pd.DataFrame(rows, columns=flow_frame().columns), persistence_frame(), curve_frame())
    assert "Stories\n0 live" in texts(fig)
    assert_inside(fig)


def test_features_that_never_fire_leave_no_nan():
    logs = logs_frame()
    logs.loc[logs["domain"] == "lua", "loss"] = np.nan
    density = density_frame().assign(log10_density=-np.inf)
    saes = saes_frame().assign(ce_recovered_mean=np.nan, fvu=np.nan, arm="independent")
    ladder = ladder_frame()
    ladder.loc[ladder["comparison"] == "base → lua", "r"] = np.nan
    ladder.loc[ladder["comparison"] == "base → stories", "r"] = 0.25
    models = models_frame().assign(accuracy=np.nan)
    drawn = [plots.loss_curves(logs), plots.sae_card(saes, density), plots.ladder(ladder),
             plots.ladder(ladder.assign(r=np.nan)), plots.domain_matrix(models), plots.ladder(ladder[:0]),
             plots.merge_sweep(sweep_frame().assign(accuracy=np.nan), models, picked=None, published_t=None),
             plots.loss_curves(logs[:0]), plots.merge_sweep(sweep_frame()[:0], models[:0]),
             plots.corpora(stats_frame()[:0]), plots.domain_matrix(models[:0]), plots.design({})]
    for fig in drawn:
        assert "nan" not in texts(fig).lower()
        style._render(fig, "pdf")
    assert "no live features" in texts(drawn[2]) and "no latent fires" in texts(drawn[1])
    assert "4,096 never fire" in texts(drawn[1]) and len(drawn[1].axes) == 5
    assert "not measured" in texts(drawn[4])


def test_the_sweep_names_both_choices_of_t(figures):
    text = texts(figures["fig5_merge_sweep"])
    for expected in ("t (0 = Lua, 1 = Stories)", "chosen, t = 0.47", "paper, t = 0.58", "slerp", "lerp",
                     "base"):
        assert expected in text, expected


def test_the_matrix_shows_the_baseline_and_blanks(figures):
    text = texts(figures["domain_matrix"])
    assert "Kneser-Ney 5-gram" in text and "Bits per byte" in text
    assert sum(len(ax.texts) for ax in figures["domain_matrix"].axes) == 20 + 20 + 16


def test_whitespace_is_visible():
    assert show(" if") == "·if" and show("\n") == "↵" and show("\t\tx") == "→→x"
    assert show(" " * 12) == "·×12" and show("\n    return") == "↵····return"
    assert show(b"\xc3") == "⟨0xC3⟩" and show("é") == "é" and show("\x00") == "⟨0x00⟩" and show("") == ""


def test_token_rows_print_r_and_survive_silence(figures):
    text = texts(figures["fig3_universal"])
    for expected in ("r = 0.93", "r = 0.31", "reference", "no match", "Base #100", "↵", "·×8", "⟨0xA9⟩"):
        assert expected in text, expected
    dead = [{**case, "activations": {model: np.full(len(case["tokens"]), np.nan) for model in MODELS}}
            for case in cases()]
    assert "nan" not in texts(plots.token_heatmap(dead)).lower()
    assert_inside(plots.token_heatmap([*cases()[:1], {**cases()[0], "tokens": [], "activations": {}}]))
    plots.token_heatmap([])


def test_shading_is_relative_to_the_feature_s_own_maximum():
    case = {"title": "x", "tokens": ["a", "b"], "activations": {"base": np.array([1.0, 2.0])}, "r": {},
            "feature": {"base": 3}}
    louder = {**case, "activations": {"base": np.array([4.0, 0.0])}}
    full = to_hex(style.tint(plots.MODEL_COLORS["base"], 0.8)).upper()
    half = to_hex(style.tint(plots.MODEL_COLORS["base"], 0.4)).upper()
    assert {full, half} <= drawn_colors(plots.token_heatmap([case]))
    assert half in drawn_colors(plots.token_heatmap([case, louder]))
    assert to_hex(style.tint(plots.MODEL_COLORS["base"], 0.2)).upper() in drawn_colors(
        plots.token_heatmap([case, louder]))


def test_a_notebook_shows_a_figure_exactly_once(tmp_path):
    import nbclient
    import nbformat

    tests = str(Path(__file__).parent)
    setup = f"import sys; sys.path[:0] = [{str(Path(tests).parent)!r}, {tests!r}]; import test_plots as t"
    cells = [nbformat.v4.new_code_cell(text) for text in
             (setup, "t.FIGURES['corpora']()", "fig = t.FIGURES['corpora']()",
              "import matplotlib.pyplot as plt\nt.FIGURES['corpora']()")]
    book = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    shown = [[output.data for output in cell.outputs if "data" in output and "image/png" in output.data]
             for cell in book.cells]
    assert [len(images) for images in shown] == [0, 1, 0, 1], [cell.outputs for cell in book.cells]


def test_importing_draws_and_changes_nothing():
    code = ("import json, matplotlib as mpl; mpl.rcParams['figure.dpi']; before = dict(mpl.rcParams); "
            "import unifeat.plots; print(json.dumps(before == dict(mpl.rcParams)))")
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                         cwd=Path(__file__).parent.parent)
    assert json.loads(out.stdout) is True
