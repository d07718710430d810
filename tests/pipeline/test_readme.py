"""The README, the pages of results and docs/: short, true to the tables, and every name and link in them exists."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from unifeat import __main__, lm, matching, merging, sae
from unifeat.lineage import read, settings
from unifeat.pipeline import captions, columns, promises, readme
from unifeat.sae import features
from unifeat.support.tables import csv

ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "figures"
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "figures/README.md", "benchmarks/README.md",
         *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))]


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def code(page: str) -> list[str]:
    """What stands in backticks, in indented blocks and between fences."""
    fences = re.findall(r"^```\w*\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL)
    return [*fences, *re.findall(r"^ {4}(.+)", prose, re.MULTILINE), *re.findall(r"`([^`]+)`", prose)]


def block(page: str, language: str) -> str:
    return re.search(rf"^```{language}\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)[1]


# What is committed ---------------------------------------------------------------------------------------


def test_the_readme_has_at_most_1200_words():
    prose = [line for line in text("README.md").splitlines() if not line.startswith("|")]  # tables of results apart
    assert len(" ".join(prose).split()) <= 1200


def test_the_pages_of_results_say_what_the_committed_tables_hold():
    found = text("README.md")
    assert f"{readme.MARKERS[0]}\n{readme.results(FIGURES)}{readme.MARKERS[1]}" in found
    assert text("figures/README.md") == readme.figures_page(FIGURES)


def test_every_share_of_the_readme_stands_with_ceiling_nulls_and_interval():
    rows = [line for line in readme.results(FIGURES).splitlines() if " → " in line and line.startswith("|")][1:]
    assert len(rows) == 2 * len(read("laptop").pairs)
    share, excess, features = r"[\d.]+ % \[[\d.]+, [\d.]+\]", r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", "(all|beyond .*?)"
    for row in rows:
        assert re.fullmatch(rf"\| \S+ → \S+ \| {features} \| {share} \| {share} \| [\d.]+ % \| [\d.]+ % "
                            rf"\| {excess} \|", row)


def test_every_promised_figure_has_a_caption_and_every_column_a_meaning():
    assert captions.FIGURES.keys() == {*promises.FIGURES, *promises.CONTROLS, *(
        name for figures, _ in promises.STUDIES.values() for name in figures)}
    for path in sorted((FIGURES / "data").glob("*.csv")):
        told = ", ".join([*columns.SHARED, *columns.TABLES[path.stem][1], columns.TABLES[path.stem][0]])
        there = set(pd.read_csv(path, nrows=1).columns)
        if path.stem in ("partners", "fig4_vanished"):  # columns named after models; columns of another table
            continue
        assert not [name for name in there if name not in re.findall(r"[\w%]+", told)], path.name


# Links and names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text(page))
    for link in links:
        assert link.startswith("https://") or (ROOT / page).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_and_command_exists(page, capsys):
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    with pytest.raises(SystemExit):
        __main__.main(["--help"])
    commands = set(re.search(r"\{([\w,]+)\}", capsys.readouterr().out)[1].split(","))
    for part in code(page):
        assert set(re.findall(r"\bmake ([a-z]+)", part)) <= targets, part
        assert set(re.findall(r"(?<!from )\bunifeat ([a-z]+)", part)) <= commands, part


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_place_of_one_machine(page):
    assert not re.findall(r"(?<![\w.])/(?:home|root|tmp|work|usr|opt)/|\blocalhost\b", text(page))
    hosts = {url.split("/")[2] for url in re.findall(r"https?://[^\s)]+", text(page))}
    assert hosts <= {"arxiv.org", "keepachangelog.com"}


def test_the_readme_links_every_page_of_docs_and_every_notebook():
    links = re.findall(r"\]\(([^)]+)\)", text("README.md"))
    wanted = [*PAGES[1:], *(f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb"))]
    assert set(wanted) <= set(links)


def test_the_reference_of_lineages_names_every_setting():
    told = text("docs/lineages.md")
    tables = [one for one in vars(settings).values() if dataclasses.is_dataclass(one)
              and one.__module__ == settings.__name__]
    keys = {one.name for table in tables for one in dataclasses.fields(table)}
    for key in keys - {"name", "shipped"}:  # which no file says
        assert re.search(rf"[`{{\[,\s.]{key}[`,\s=}}\].]", told), key
    assert set(re.findall(r"^\| `(\w+) = ", told, re.MULTILINE)) == set(settings.WAYS)


def test_the_readme_s_lineage_can_be_read(tmp_path):
    (tmp_path / "mine.toml").write_text(block("README.md", "toml"), encoding="utf-8")
    found = read(tmp_path / "mine.toml")
    assert len(found.names) == 4 and len(found.edges) == 4 and found.domains == ("web", "chat")


def test_the_readme_s_code_runs_and_the_docs_name_functions_that_exist():
    rng = np.random.default_rng(0)
    a = rng.random((200, 4))
    state = {"w": torch.eye(2)}
    names = dict(features_a=a, features_b=a[:, ::-1], state_a=state, state_b={"w": torch.ones(2, 2)})
    exec(block("README.md", "python"), names)
    assert (names["shares"]["one_to_one", "child"] == 1).all() and names["merged"]["w"].shape == (2, 2)
    rooms = dict(lm=lm, matching=matching, merging=merging, sae=sae, features=features)
    for room, name in re.findall(r"\b(\w+)\.(\w+)\(", block("docs/your_models.md", "python")):
        assert hasattr(rooms[room], name), f"{room}.{name}"


# Other lineages ------------------------------------------------------------------------------------------


def rung(group: str, comparison: str, observed: float, **more) -> dict:
    return dict(group=group, comparison=comparison, rule="one_to_one", observed=observed, ci_low=observed - 0.1,
                ci_high=observed + 0.1) | more


@pytest.fixture
def folder(tmp_path):
    """Tables of a lineage of two models, x and y, without a merge, controls or weights."""
    edge = dict(ceiling=0.9, ceiling_low=0.8, ceiling_high=1.0, null=0.01, excess=0.5, excess_low=0.4, excess_high=0.6)
    ladder = [rung("edges, independent SAEs", "x → y", 0.4, **edge), rung("seed ceiling: two SAEs", "x", 0.7),
              rung("seed ceiling: two SAEs", "y", 0.9), rung("SAE of an untrained model", "untrained → x", 0.2),
              rung("SAE of an untrained model", "untrained → y", 0.15), rung("raw MLP neurons", "neurons: x → y", 0.3),
              rung("null: activations rotated", "x → y, rotated", 0.1),
              rung("null: tokens permuted", "x → y, permuted", 0.0)]
    models = [dict(model=name, domain=domain, split="validation", bits_per_byte=1.5, loss_nats=loss)
              for name, losses in dict(x=(3.0, 4.0), y=(3.5, 2.0), ngram=(3.2, 5.0)).items()
              for domain, loss in zip("de", losses, strict=True)]
    shares = [rung("", "", observed, **edge) | dict(
        arm="controlled", parent="x", child="y", side=side, tau=0.7, features=features, null_untrained=0.15)
        for side in ("child", "parent", "both") for features, observed in (("all", 0.4), ("beyond_both", 0.2))]
    (tmp_path / "data").mkdir()
    for name, rows in dict(ladder=ladder, models=models, persistence=shares, unknown=[dict(a=1)]).items():
        (tmp_path / "data" / f"{name}.csv").write_text(csv(pd.DataFrame(rows)))
    manifest = dict(lineage=dict(name="mine", comparison=dict(tau=0.7)), device="cpu", commit="c0ffee")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    for name in ("ladder", "new_figure"):
        (tmp_path / f"{name}.png").write_bytes(b"")
    (tmp_path / "ladder.json").write_text(json.dumps(dict(data=["data/ladder.csv"])))
    (tmp_path / "fig5_merge_sweep.txt").write_text("No model is a merge.\n")
    return tmp_path


def test_a_lineage_without_a_merge_has_a_page_without_it(folder):
    page = readme.figures_page(folder)
    assert "lineage mine; device cpu; commit c0ffee." in page and "(r ≥ 0.7; geometric mean" in page
    cells = "90.0 % [80.0, 100.0] | 1.0 % | 15.0 % | 0.50 [0.40, 0.60] |"
    assert f"| x → y | all | 40.0 % [30.0, 50.0] | {cells}" in page
    assert f"| x → y | beyond token and neuron | 20.0 % [10.0, 30.0] | {cells}" in page
    assert "In the 1 compared pairs 40 % of all features persist, where a second SAE of the same model" in page
    assert "y gains 2.00 nats on e and loses 0.50 on d" in page
    assert ("| x → y | 0.0 % [-10.0, 10.0] | 10.0 % [0.0, 20.0] | 1.0 % | 15.0 % [5.0, 25.0] | 30.0 % [20.0, 40.0] "
            "| 40.0 %") in page
    assert "- [The ladder](ladder.png). How well" in page and "Numbers: [ladder.csv](data/ladder.csv)." in page
    assert "- [new_figure](new_figure.png).\n- Left out: No model is a merge.\n" in page
    assert "**[unknown.csv](data/unknown.csv)**\n" in page
    titles = re.findall(r"^## (.*)", page, re.MULTILINE)
    assert titles == ["What persists", "The ladder", "Sides and features", "Models", "Figures", "Tables"]


def test_a_lineage_without_edges_says_so(folder):
    ladder = pd.read_csv(folder / "data" / "ladder.csv")
    (folder / "data" / "ladder.csv").write_text(csv(ladder[~ladder["comparison"].str.contains("x → y")]))
    (folder / "data" / "persistence.csv").unlink()
    assert readme.results(folder) == "This run compares no two models, so no feature can persist in it.\n"
    assert "## The ladder" not in readme.figures_page(folder)
    (folder / "data" / "ladder.csv").unlink()
    assert readme.results(folder).startswith("This run compares no two models")


def test_refresh_writes_between_the_markers_and_the_page(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    folder.rename(root / "figures")
    (root / "README.md").write_text(f"before\n{readme.MARKERS[0]}\nold\n{readme.MARKERS[1]}\nafter\n")
    readme.refresh(root)
    said = readme.results(root / "figures")
    assert (root / "README.md").read_text() == f"before\n{readme.MARKERS[0]}\n{said}{readme.MARKERS[1]}\nafter\n"
    assert (root / "figures" / "README.md").read_text() == readme.figures_page(root / "figures")


def test_controls_are_told_where_all_of_them_ran(tmp_path):
    ran = {path.stem for path in FIGURES.glob("control_*.png")}
    assert ran in (set(), set(promises.CONTROLS))  # all are of one run, or none is committed
    assert len(readme.answers(FIGURES / "data")) == len(ran)
    assert readme.answers(tmp_path / "data") == []


@pytest.mark.parametrize("change, words", [
    ({}, ""), (dict(device="another"), "another run than the rest of this page (device another"),
    (dict(lineage={"name": "b"}), "(other settings; commit 0123456789)")])
def test_controls_of_another_run_are_told(tmp_path, change, words):
    own = dict(device="cpu", commit="0123456789abc", lineage={"name": "a"})
    (tmp_path / "manifest.json").write_text(json.dumps(own))
    (tmp_path / "control_thresholds.json").write_text(json.dumps(own | change))
    assert (words in readme._other_run(tmp_path)) and bool(readme._other_run(tmp_path)) == bool(words)


def test_the_readme_says_by_how_much_counting_beats_the_base():
    models = pd.read_csv(FIGURES / "data" / "models.csv").query("split == 'validation'")
    bits = models.pivot(index="domain", columns="model", values="bits_per_byte")
    behind = [name for name in read("laptop").mix("base")[0] if bits.loc[name, "base"] > bits.loc[name, "ngram"]]
    assert behind == ["english"]
    stated = f"({bits.loc['english', 'ngram']:.3f} against {bits.loc['english', 'base']:.3f} bits per byte)"
    assert stated in " ".join(text("README.md").split())
