"""The lineages that come with the package, and single settings that are wrong."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unifeat.lineage import LineageError, choose, read, shipped


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_lineage_loads(name):
    found = read(name)
    assert found.name == name and found.shipped and found.edges


def test_the_papers_lineages_are_a_base_two_children_and_their_merge():
    for name in ("smoke", "laptop", "paper", "released"):
        p = read(name)
        base, *children, merged = p.names
        assert p.roots == (base,) and p.children(base) == tuple(children) == p.parents(merged)
        assert p.pairs == (*p.edges, (base, merged))
    released = read("released").models.values()
    assert all(one.ways == ["given"] and "/" in one.given and one.revision for one in released)


def test_a_lineage_is_shipped_only_as_it_came():
    assert choose("laptop", "embedded").shipped and not read("laptop", **{"sae.k": 4}).shipped


@pytest.mark.parametrize(("key", "value", "words"), [
    ("sae.k", "32", "laptop.sae.k must be a whole number"),
    ("sae.k", 0, "between 1 and sae.width"),
    ("sae.k", True, "a whole number"),
    ("sae.width", 10**400, "below 2**63"),
    ("sae.kind", "gated", "one of relu, topk, batchtopk"),
    ("sae.seeds", [1, 1], "two different seeds"),
    ("sae.seeds", [-1, 1], "of 0 or more"),
    ("sae.seeds", 3, "must be a list"),
    ("sae.colour", 1, "names no setting"),
    ("nothing", 1, "names no setting"),
    ("corpora.source", "web", "one of embedded, hub, files"),
    ("corpora.validation_share", 1.0, "between 0 and 1"),
    ("model.heads", 7, "divisor"),
    ("model.d_model", 0, "divisor"),
    ("model.seed", -1, "0 or more"),
    ("train.batch", 0, "at least 1"),
    ("train.tokens", 10, "at least one batch"),
    ("finetune.evaluations", 1, "before and after"),
    ("comparison.tau", 1.5, "in (0, 1]"),
    ("comparison.tokens", 5, "no feature can be live"),
    ("controls.kinds", ["gated"], "among relu, topk, batchtopk"),
    ("controls.lengths", [0.001], "at least one batch"),
    ("studies.doses", [1.0, 1.0], "each once"),
    ("studies.seeds", [], "at least one"),
    ("studies.replicates", 0, "at least 1"),
    ("merge.points", 1, "at least 2"),
])
def test_a_bad_setting_is_one_clear_sentence(key, value, words):
    with pytest.raises(LineageError) as error:
        read("laptop", **{key: value})
    text = str(error.value)
    assert words in text and "\n" not in text and text.endswith(".") and len(text) < 300


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.none(), st.booleans(), st.integers(), st.text()), min_size=1,
                       max_size=3))
def test_arbitrary_overrides_never_pass_unread(overrides):
    overrides.pop("name", None)
    if overrides:
        with pytest.raises(LineageError):
            read("smoke", **overrides)


def test_lineages_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        read("smoke").name = "other"
