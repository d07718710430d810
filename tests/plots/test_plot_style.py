"""All figures: drawn whole, the same bytes every time, in the repository's own style, and shown once in a notebook."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from plot_frames import FIGURES, NOTE, SHAPES, drawn
from plot_reading import colors, faults, read

from unifeat import plots
from unifeat.plots import names, style

HERE = Path(__file__).parent
DIAMOND = SHAPES["diamond"]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_comes_back_whole(name):
    fig, text = drawn(name), read(drawn(name))
    assert isinstance(fig, Figure) and fig.get_figwidth() == style.WIDTH
    assert NOTE in text.replace("\n", " ")
    assert not {"nan", "inf"} & set(text.lower().split())
    visible = [ax for ax in fig.axes if ax.axison]
    assert name == "token_heatmap" or any(ax.get_xlabel() for ax in visible)
    assert name == "token_heatmap" or any(ax.get_ylabel() or ax.get_yticklabels() for ax in visible)
    assert not faults(fig)


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_input_gives_the_same_bytes(name):
    fresh = FIGURES[name](DIAMOND)
    pdf, png = (style._render(drawn(name), kind) for kind in ("pdf", "png"))
    assert pdf == style._render(drawn(name), "pdf") == style._render(fresh, "pdf")
    assert png == style._render(fresh, "png")
    assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf and b"Software" not in png and b"tIME" not in png


def test_bytes_do_not_depend_on_the_process(tmp_path):
    """Another hash seed, another time zone, another matplotlibrc: the same files."""
    pair = ("ladder", "sae_card")
    code = ("import sys; from pathlib import Path; sys.path[:0] = sys.argv[1:3]; import plot_frames as t\n"
            f"[t.plots.write(t.FIGURES[name](t.SHAPES['diamond']), Path(sys.argv[3]) / name) for name in {pair}]")
    settings = tmp_path / "matplotlibrc"
    settings.write_text("font.size: 15\nlines.linewidth: 4\naxes.grid: True\n")
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "MATPLOTLIBRC": str(settings)}
    subprocess.run([sys.executable, "-c", code, str(HERE.parents[1]), str(HERE), str(tmp_path)], check=True, env=env)
    for name in pair:
        for path in plots.write(drawn(name), tmp_path / "here" / name):
            assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_an_unchanged_file_is_left_alone(tmp_path):
    pdf, png = plots.write(drawn("corpora"), tmp_path / "deep" / "corpora.v1")
    assert (pdf.name, png.name) == ("corpora.v1.pdf", "corpora.v1.png")
    before = png.stat().st_mtime_ns
    plots.write(drawn("corpora"), tmp_path / "deep" / "corpora.v1")
    assert png.stat().st_mtime_ns == before and len(list((tmp_path / "deep").iterdir())) == 2


def test_the_reader_s_settings_are_neither_used_nor_changed():
    with mpl.rc_context({"font.size": 20, "axes.grid": True}):
        before = dict(mpl.rcParams)
        figure = FIGURES["corpora"](DIAMOND)
        assert dict(mpl.rcParams) == before
    assert style._render(figure, "png") == style._render(FIGURES["corpora"](DIAMOND), "png")
    assert "matplotlib.pyplot" not in sys.modules or not mpl.pyplot.get_fignums()


def test_each_model_and_domain_keeps_its_color():
    models, domains = ({look.color for look in looks.values()} for looks in (DIAMOND.models, DIAMOND.domains))
    assert len(models | domains) == 8
    for name in ("token_heatmap", "sae_card", "domain_matrix"):
        assert models <= colors(drawn(name)), name
    for name in ("corpora", "loss_curves"):
        assert domains <= colors(drawn(name)), name


def test_a_notebook_shows_a_figure_exactly_once():
    import nbclient
    import nbformat

    setup = f"import sys; sys.path[:0] = [{str(HERE.parents[1])!r}, {str(HERE)!r}]; from plot_frames import *"
    cells = [nbformat.v4.new_code_cell(text) for text in
             (setup, "FIGURES['corpora'](SHAPES['diamond'])", "fig = FIGURES['corpora'](SHAPES['diamond'])",
              "import matplotlib.pyplot as plt\nFIGURES['corpora'](SHAPES['diamond'])", "FIGURES['corpora'](NINE)",
              "FIGURES['ladder'](NINE)")]
    book = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    image, text = ["image/png"], ["text/markdown"]
    shown = [[kind for output in cell.outputs for kind in output.get("data", ()) if kind in image + text]
             for cell in book.cells]
    assert shown == [[], image, [], image, image, text], [cell.outputs for cell in book.cells]


def test_importing_draws_and_changes_nothing():
    code = ("import json, matplotlib as mpl; mpl.rcParams['figure.dpi']; before = dict(mpl.rcParams); "
            "import unifeat.plots; print(json.dumps(before == dict(mpl.rcParams)))")
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=HERE.parents[1])
    assert json.loads(out.stdout) is True


def test_what_is_left_out_says_so_in_one_sentence():
    out = plots.LeftOut("No *figure* for a_b costs $5.")
    assert str(out) == "No *figure* for a_b costs $5."
    assert out._repr_markdown_() == r"*No \*figure\* for a_b costs \$5.*"


def test_names_fit_and_stay_apart():
    a, b = "fine-tuned on chats, seed 1", "fine-tuned on chats, seed 2"
    assert all(len(names.clipped(a, room)) == room for room in range(2, 27)) and names.clipped(a, 27) == a
    assert names.clipped(a, 12) != names.clipped(b, 12)
    assert names.level(["two words", "one"], 5.5 * names.CHARACTER) == ["two\nwords", "one"]
    assert names.level(["indivisible"], 5.5 * names.CHARACTER) is None
    assert len(names.arrow(SHAPES["eight"], "m0", "m1", 34)) <= 34
