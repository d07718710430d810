import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unifeat.lineage import settings
from unifeat.support.errors import UnifeatError


@pytest.mark.parametrize("name", settings.NAMES)
def test_every_shipped_profile_loads(name):
    assert settings.load(name).name == name


@pytest.mark.parametrize(("key", "value", "words"), [
    ("sae.k", "32", "laptop.sae.k must be of type int"),
    ("sae.k", 0, "between 1 and sae.width"),
    ("sae.k", True, "of type int"),
    ("sae.kind", "gated", "one of relu, topk, batchtopk"),
    ("sae.seeds", [1, 1], "two different seeds"),
    ("sae.seeds", 3, "must be a list"),
    ("sae.colour", 1, "names no setting"),
    ("nothing", 1, "names no setting"),
    ("corpora.source", "web", "one of embedded, hub, files"),
    ("corpora.validation_share", 1.0, "between 0 and 1"),
    ("model.heads", 7, "divisor"),
    ("base.weights", [1.0], "one positive weight per domain"),
    ("base.domains", ["french", "python"], "among english"),
    ("probe.tau", 1.5, "in (0, 1]"),
    ("probe.tokens", 5, "no feature can be live"),
    ("merge.points", 1, "at least 2"),
])
def test_bad_setting_is_one_clear_sentence(key, value, words):
    with pytest.raises(settings.ProfileError) as error:
        settings.load("laptop", **{key: value})
    assert words in str(error.value) and "\n" not in str(error.value)


def test_unknown_profile_unknown_key_missing_key_and_broken_file(tmp_path):
    with pytest.raises(UnifeatError, match="'desktop' does not exist; choose one of smoke, laptop, paper"):
        settings.load("desktop")
    text = (settings.FOLDER / "smoke.toml").read_text()
    for change, words in ((text + "\n[extra]\nx = 1\n", "no setting 'extra'"),
                          (text.replace("[probe]", "[probe]\nspeed = 1"), "no setting 'speed'"),
                          (text.replace("tau = 0.8\n", ""), "lacks the setting 'tau'"),
                          (text.replace("[probe]", "[probe"), "not valid TOML"),
                          ("probe = 3\n", "must be a table|lacks")):
        (tmp_path / "own.toml").write_text(change)
        with pytest.raises(settings.ProfileError, match=words):
            settings.load(str(tmp_path / "own.toml"))


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.none(), st.booleans(), st.integers(), st.text()), min_size=1,
                       max_size=3))
def test_arbitrary_overrides_never_pass_unread(overrides):
    overrides.pop("name", None)
    if overrides:
        with pytest.raises(settings.ProfileError):
            settings.load("smoke", **overrides)


def test_profiles_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.load("smoke").name = "other"
