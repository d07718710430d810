"""Opening a run: what wins over what, and which stages two runs share."""

import dataclasses

import pytest
import tiny

from unifeat.lineage import read
from unifeat.lineage.run import Run, open_run, opened
from unifeat.support import paths, store
from unifeat.support.errors import UnifeatError


def test_environment_wins_over_a_notebooks_parameters(monkeypatch, tmp_path):
    monkeypatch.setenv("UNIFEAT_LINEAGE", "smoke")
    assert open_run("laptop").lineage.name == "smoke"
    monkeypatch.setenv("UNIFEAT_CORPORA", str(tmp_path))
    run = open_run("laptop")
    assert run.lineage.corpora.source == "files" and run.lineage.corpora.folder == str(tmp_path)
    assert run.figures.name == f"smoke-{tmp_path.name}"
    monkeypatch.setenv("UNIFEAT_HOOK", "blocks.0.hook_mlp_out")
    assert open_run("laptop").lineage.sae.hook == "blocks.0.hook_mlp_out"


def test_figures_of_other_runs_have_their_own_folder(tmp_path, monkeypatch):
    for lineage, corpora, name in (("laptop", "", "figures"), ("laptop", "embedded", "figures"),
                                   ("laptop", "hub", "figures/laptop-hub"), ("smoke", "", "figures/smoke"),
                                   (str(tmp_path / "mine.toml"), "", "figures/mine")):
        assert paths.figures(lineage, corpora) == paths.ROOT / name
    monkeypatch.setenv("UNIFEAT_FIGURES", str(tmp_path))
    assert paths.figures("smoke", "") == tmp_path


def test_claims_are_checked_of_shipped_lineages_as_they_came(tmp_path):
    def claims(lineage):
        return Run(lineage, tmp_path, tmp_path).claims

    assert claims(read("laptop")) and claims(read("paper")) and not claims(read("smoke"))
    for key, value in {"sae.k": 4, "sae.hook": "blocks.0.hook_mlp_out"}.items():
        assert not claims(read("laptop", **{key: value}))


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """Function from a lineage to the keys of its stages {name: key}; nothing is made."""
    def of(lineage, text=tmp_path / "text"):
        found = {}

        def make(root, stage, build, *, config=None, inputs=(), code=""):
            found[stage] = store.digest(stage, config, [item.key for item in inputs], code)
            return store.Artefact(tmp_path, found[stage], 0.0)

        monkeypatch.setattr(store, "make", make)
        run = opened(lineage, tmp_path)
        for name in lineage.names:
            if not lineage.models[name].merge:  # whose t asks for a table
                run.feature_stage(name)
        return found

    tiny.text(tmp_path / "text")
    return of


@pytest.fixture
def lineage(tmp_path):
    return read(tiny.lineage(tmp_path / "tiny.toml", folder=tmp_path / "text"))


def test_a_setting_moves_the_keys_of_what_depends_on_it_alone(keys, lineage):
    def moved(**sections):
        other = keys(dataclasses.replace(lineage, **{name: dataclasses.replace(getattr(lineage, name), **change)
                                                     for name, change in sections.items()}))
        return {name for name, key in keys(lineage).items() if other[name] != key}

    features, saes = ({f"{kind}-{name}" for name in ("base", "lua", "stories")} for kind in ("features", "saes"))
    assert moved(sae=dict(k=3)) == saes | features
    assert moved(comparison=dict(tokens=320)) == features
    assert moved(comparison=dict(tau=0.7), merge=dict(points=5), controls=dict(tokens=400)) == set()
    assert moved(corpora=dict(seed=1)) == set(keys(lineage))
    lua = lineage.models["lua"]
    faster = dataclasses.replace(lua, finetune=dataclasses.replace(lua.finetune, lr=1.0))
    other = keys(dataclasses.replace(lineage, models=lineage.models | {"lua": faster}))
    changed = {name for name, key in keys(lineage).items() if other[name] != key}
    assert changed == {"model-lua", "saes-lua", "features-lua"}


def test_labels_and_colors_of_models_move_no_key(keys, lineage):
    looks = {name: dataclasses.replace(one, label="Other", color="#123456") for name, one in lineage.models.items()}
    assert keys(dataclasses.replace(lineage, models=looks)) == keys(lineage)


def test_labels_and_colors_of_domains_move_no_key(keys, lineage):
    looks = {name: dataclasses.replace(one, label="Other", color="#123456") for name, one in lineage.text.items()}
    assert keys(dataclasses.replace(lineage, text=looks)) == keys(lineage)


def test_the_order_of_domains_is_in_the_key_since_the_comparison_text_has_it(keys, lineage):
    turned = dict(reversed(lineage.text.items()))
    assert keys(dataclasses.replace(lineage, text=turned))["corpora"] != keys(lineage)["corpora"]


def test_papermills_numbers_are_names():
    """`papermill -p CORPORA 2024` gives a notebook the number 2024 for a folder of that name."""
    with pytest.raises(UnifeatError, match="2024"):
        open_run("smoke", 2024)
