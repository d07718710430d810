"""The command line on a repository of one notebook: what it runs, prints and promises."""

import pytest
from made_notebooks import saving, write

from unifeat import __main__ as cli
from unifeat.pipeline import promises
from unifeat.pipeline.notebooks import NotebookError
from unifeat.support import paths


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of one notebook that saves every figure and table of the contract."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    data = tmp_path / "figures" / "smoke" / "data"
    data.mkdir(parents=True)
    for name, columns in promises.TABLES.items():
        (data / f"{name}.csv").write_text(f"{columns}\n{columns}\n")
    for name in promises.FIGURES:
        for kind in ("pdf", "png", "json"):
            (data.parent / f"{name}.{kind}").write_text("x")
    (data.parent / "manifest.json").write_text("{}")
    (tmp_path / "build" / "store" / "model-base-0").mkdir(parents=True)  # no first run, which would be estimated
    write(tmp_path / "notebooks" / "01_a.ipynb", saving(*promises.FIGURES))
    return tmp_path


def test_a_whole_run_prints_a_line_for_each_notebook_and_succeeds(repository, capsys):
    assert cli.main(["figures", "--lineage", "smoke"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.split()[0] == "01_a" and first.split()[2] == "s" and first.endswith(", ".join(promises.FIGURES))
    count = len(promises.FIGURES)
    assert last.startswith(f"{count} figures are in figures/smoke/, their numbers in figures/smoke/data/ (")


def test_a_first_run_begins_with_an_estimate(repository, capsys):
    (repository / "build" / "store" / "model-base-0").rmdir()
    assert cli.main(["figures", "--lineage", "smoke"]) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("About ") and first.endswith(" GB of disk.") and second.startswith("01_a")


def test_controls_run_on_their_own_and_only_there(repository, capsys):
    for name in promises.CONTROLS:
        for kind in ("pdf", "png", "json"):
            (repository / "figures/smoke" / f"{name}.{kind}").write_text("x")
    write(repository / "notebooks" / "09_controls.ipynb", saving(*promises.CONTROLS))
    assert cli.main(["figures", "--lineage", "smoke"]) == 0
    assert "09_controls" not in capsys.readouterr().out
    assert cli.main(["controls", "--lineage", "smoke"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("09_controls") and f"{len(promises.CONTROLS)} figures are in figures/smoke/" in out


def test_one_study_runs_alone_and_its_tables_are_checked(repository, capsys):
    folder = repository / "figures/smoke"
    for stem, (figures, tables) in promises.STUDIES.items():
        for name in figures:
            for kind in ("pdf", "png", "json"):
                (folder / f"{name}.{kind}").write_text("x")
        for name, columns in tables.items():
            (folder / "data" / f"{name}.csv").write_text(f"{columns}\nx\n")
        write(repository / "notebooks" / f"{stem}.ipynb", saving(*figures))
    stem, (figures, tables) = next(iter(promises.STUDIES.items()))
    assert cli.main(["studies", "--lineage", "smoke", "--only", stem.split("_")[0]]) == 0
    out = capsys.readouterr().out
    assert out.startswith(stem) and f"{len(figures)} figures are in figures/smoke/" in out
    (folder / "data" / f"{next(iter(tables))}.csv").write_text("a\nx\n")
    assert cli.main(["studies", "--lineage", "smoke"]) == 1
    assert f"{next(iter(tables))}.csv has 1 rows and" in capsys.readouterr().err
    assert cli.main(["studies", "--lineage", "smoke", "--only", "7"]) == 2
    assert "N=7 is the number of no study; choose one of 11" in capsys.readouterr().err


@pytest.mark.parametrize("damage, message", [
    (lambda root: (root / "figures/smoke/ladder.pdf").unlink(), "figures/smoke/ladder.pdf was not written."),
    (lambda root: (root / "figures/smoke/data/saes.csv").write_text("a\nx\n"), "saes.csv has 1 rows and"),
    (lambda root: write(root / "notebooks/01_a.ipynb", saving("ladder")), "none of them saved corpora:"),
])
def test_a_figure_or_table_that_is_not_there_fails_the_run(repository, capsys, damage, message):
    damage(repository)
    assert cli.main(["figures", "--lineage", "smoke"]) == 1
    assert message in capsys.readouterr().err


def test_what_a_lineage_has_not_the_shape_for_is_said_in_a_sentence(repository, capsys):
    folder = repository / "figures" / "smoke"
    (folder / "fig5_merge_sweep.txt").write_text("This lineage has no merge.\n")
    for kind in ("pdf", "png", "json"):
        (folder / f"fig5_merge_sweep.{kind}").unlink()
    assert cli.main(["figures", "--lineage", "smoke"]) == 0
    *_, count, left_out = capsys.readouterr().out.splitlines()
    assert count.startswith(f"{len(promises.FIGURES) - 1} figures are in ")
    assert left_out == "Left out: This lineage has no merge."


def test_tables_without_rows_are_promised_only_where_there_is_no_edge(repository):
    folder = repository / "figures" / "smoke"
    (folder / "data" / "flow.csv").write_text(f"{promises.TABLES['flow']}\n")
    saved = set(promises.FIGURES)
    assert promises.check(folder, saved, edges=False) == []
    with pytest.raises(NotebookError, match="data/flow.csv has 0 rows"):
        promises.check(folder, saved)
    (folder / "data" / "merge_sweep.csv").write_text("t\n1\n")  # is there only where there is a merge
    with pytest.raises(NotebookError, match="data/merge_sweep.csv has 1 rows and columns t; it must"):
        promises.check(folder, saved, edges=False)


def test_a_lineage_of_the_users_has_figures_of_its_own_and_runs_again_when_its_order_changes(repository, capsys):
    models = ['[models.a]\ntrain = { text = ["english"] }\n', '[models.b]\nparent = "a"\nquantized = 4\n']
    mine = repository / "mine.toml"
    (repository / "figures" / "smoke").rename(repository / "figures" / "mine")
    for order in (1, 1, -1):
        mine.write_text("\n".join(['extends = "smoke"', *models[::order]]))
        (repository / "build" / "store" / f"model-{'ab'[order < 0]}-0").mkdir(exist_ok=True)
        assert cli.main(["figures", "--lineage", str(mine)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith(" (unchanged)") for line in lines if line.startswith("01_a")] == [False, True, False]
    assert sum(f"{len(promises.FIGURES)} figures are in figures/mine/" in line for line in lines) == 3


@pytest.mark.parametrize("arguments, message", [
    (["--lineage", "huge"], "Lineage 'huge' does not exist;"),
    (["--corpora", "nowhere"], "CORPORA=nowhere is neither a source nor a folder;"),
    (["--from", "99"], "FROM=99 is the number of no notebook;"),
    (["--lineage", "/no/gone.toml"], "Lineage '/no/gone.toml' does not exist;"),
    (["--models", "a"], "MODELS=a must list models as name=folder,name=folder,"),
    (["--models", "a=/no/such/folder"], "The folder of the model a, /no/such/folder, does not exist;"),
])
def test_bad_arguments_are_one_sentence_and_status_2(repository, capsys, arguments, message):
    assert cli.main(["figures", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count("\n") == 1
