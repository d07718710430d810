"""Features chosen by rule: on the paper's lineage and on others."""

import numpy as np
import pytest
from planted_runs import OWN, SHARED, Planted, children, planted_run

from unifeat.studies import case_studies


def test_partners_and_rules(planted):
    frame = case_studies.partners(planted)
    assert len(frame) == SHARED + OWN and (frame["r_lua"] > 0.99).sum() == SHARED
    assert case_studies.pick(planted, "universal")["r_merged"] > 0.99
    assert case_studies.pick(planted, "vanished")["r_twin"] >= 0.8
    assert case_studies.pick(planted, "persisting")["r_lua"] >= 0.8
    emerged, seen = case_studies.pick(planted, "emerged"), case_studies.origins(planted)
    assert emerged["r_base"] == seen.loc[seen["r_twin"] >= 0.8, "r_base"].min()
    with pytest.raises(ValueError, match="no rule 'prettiest'"):
        case_studies.pick(planted, "prettiest")


@pytest.mark.parametrize("shape", [{}, {"b": "a"}, {"c": "b", "b": "a"}, {f"b{i}": "a" for i in range(11)}])
def test_rules_choose_a_feature_of_the_first_edges_parent_in_any_lineage(tmp_path, shape):
    run = planted_run(tmp_path, children(shape))
    parent, child = case_studies.ends(run)
    assert (parent, child) == (run.lineage.edges[0] if shape else ("a", "a"))
    for rule in case_studies.RULES:
        row = case_studies.pick(run, rule)
        own = child if rule == "emerged" else parent
        assert int(row[own]) in run.live(own, 1 if rule == "emerged" else 0)
        assert case_studies.described(run, rule).startswith("rule: ")


def test_the_rule_in_words_counts_the_other_models(tmp_path):
    run = planted_run(tmp_path, children({f"b{i}": "a" for i in range(3)}))
    assert case_studies.described(run, "universal") == "rule: greatest least r over the other three models"


class LookUps(Planted):
    """Only the features at `kept` are beyond the token."""

    kept = slice(5, 20)

    def subsets(self, name, seed):
        beyond = np.zeros(len(self.live(name, seed)), bool)
        beyond[self.kept] = True
        return dict(beyond_token=beyond, beyond_neuron=~beyond, beyond_both=beyond & ~beyond)


@pytest.mark.parametrize("rule", case_studies.RULES)
def test_rules_choose_features_beyond_the_token_and_all_where_there_are_none(tmp_path, rule):
    run = planted_run(tmp_path, kind=LookUps)
    row = case_studies.pick(run, rule)
    if rule != "random":
        assert row["beyond_token"] and case_studies.looked_at(row) == "one neuron, beyond the token"
    none = planted_run(tmp_path, kind=type("None", (LookUps,), dict(kept=slice(0))))
    assert case_studies.looked_at(case_studies.pick(none, rule)) == "decided by the current token"
