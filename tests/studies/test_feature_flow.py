"""Features that persist, emerge and disappear along the edges of lineages of every shape."""

import pytest
from planted_runs import OWN, SHARED, children, planted_run

from unifeat.studies import feature_flow


def counts(run):
    frame = feature_flow.flow(run)
    assert list(frame.columns) == feature_flow.COLUMNS and set(frame["kind"]) <= {"persist", "emerge", "disappear"}
    return frame.set_index(["source", "target", "kind"])["features"]


def test_flow_adds_up_and_splits_the_merge_by_origin(planted):
    flow = counts(planted)
    for parent, child in planted.lineage.edges:
        assert flow[parent, child, "persist"] == SHARED
        assert flow[parent, child, "emerge"] == flow[parent, child, "disappear"] == OWN
    assert flow["both", "merged", "persist"] == SHARED and flow["new", "merged", "emerge"] == OWN
    assert flow["lua only", "merged", "persist"] == flow["stories only", "merged", "persist"] == 0
    assert flow["base", "both", "persist"] == SHARED and flow["base", "neither", "disappear"] == OWN


@pytest.mark.parametrize("shape, splits", [
    ({}, 0), ({"b": "a"}, 0), ({"b": "a", "c": "b", "d": "c"}, 0),  # alone, one edge, a chain
    ({"b": "a", "c": "a", "d": "a"}, 5),  # a star: several, three only, neither
    ({"b": "a", "c": "a", "m": "b+c"}, 8), ({f"b{i}": "a" for i in range(11)}, 13)])
def test_every_shape_has_three_rows_an_edge_and_a_split_where_models_meet(tmp_path, shape, splits):
    run = planted_run(tmp_path, children(shape))
    flow = counts(run)
    assert len(flow) == 3 * len(run.lineage.edges) + splits
    for parent, child in run.lineage.edges:
        assert flow[parent, child, "persist"] + flow[parent, child, "emerge"] == SHARED + OWN
    if len(run.lineage.children("a")) > 2:
        assert flow["a", "several", "persist"] == SHARED and flow["a", "neither", "disappear"] == OWN
