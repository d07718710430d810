"""Evolver: both rules by hand, what the search may see, and what it must never do."""

import architectures
import pytest
import torch

from unifeat.merging import evolver, zoo
from unifeat.merging.evolver import Evolution, EvolverError, evolve
from unifeat.support.checkpoint import Checkpoint


def population(count=4, size=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"w": torch.randn(size, generator=generator), "n": torch.tensor(i)} for i in range(count)]


TARGET = torch.linspace(-1, 1, 60)


def near(state):
    return -float((state["w"] - TARGET).square().mean())


@pytest.mark.parametrize("rule", evolver.RULES)
@pytest.mark.parametrize("merger", [None, zoo.linear])
def test_the_best_score_only_rises_and_the_search_gains(rule, merger):
    members, asked = population(), []
    how = Evolution(rule, 0.3, 0.2, generations=12)
    found = evolve(members, lambda state: asked.append(1) or near(state), how, merger)
    best = [max(row["score"] for row in found.log if row["generation"] == g) for g in range(13)]
    assert best == sorted(best) and best[-1] > best[0] and found.score == best[-1] == near(found.state)
    assert len(asked) == (1 if merger else 4) + 4 * 12, "the budget of dev evaluations"


@pytest.mark.parametrize("rule", evolver.RULES)
@pytest.mark.parametrize("change", [dict(f=0.0), dict(cr=0.0)])
def test_without_a_change_the_fittest_parent_comes_back_bit_for_bit(rule, change):
    members = population()
    found = evolve(members, near, Evolution(rule, generations=3, **change))
    assert torch.equal(found.state["w"], max(members, key=near)["w"])


def test_the_codes_rule_stays_inside_the_parents_box_and_the_papers_need_not():
    members = population()
    low, high = (torch.stack([m["w"] for m in members]).aminmax(dim=0)[i] for i in (0, 1))

    def far(state):  # rewards leaving the box
        return float(state["w"].abs().max())

    inside = evolve(members, far, Evolution("code", generations=10)).state["w"]
    assert ((inside >= low - 1e-6) & (inside <= high + 1e-6)).all()
    outside = evolve(members, far, Evolution("paper", generations=10)).state["w"]
    assert ((outside < low - 1e-6) | (outside > high + 1e-6)).any()


def test_offspring_by_hand():
    """The paper's: every weight is the parent's or parent + f (one other - another)."""
    members, seen = population(3), []
    evolve(members, lambda state: seen.append(state["w"].clone()) or 0.0, Evolution("paper", f=0.25, generations=1))
    w = [m["w"] for m in members]
    for i, child in enumerate(seen[3:]):
        j, k = (n for n in range(3) if n != i)
        ways = [w[i], w[i] + 0.25 * (w[j] - w[k]), w[i] + 0.25 * (w[k] - w[j])]
        assert any((torch.isclose(child, ways[0]) | torch.isclose(child, way)).all() for way in ways[1:])
        assert 0.2 < torch.isclose(child, w[i]).float().mean() < 0.8


def test_the_masks_expectation_takes_the_same_step_everywhere():
    members, seen = population(2), []
    evolve(members, lambda state: seen.append(state["w"].clone()) or 0.0,
           Evolution("code", f=0.5, cr=0.5, generations=1, expected=True))
    torch.testing.assert_close(seen[2], 0.75 * members[0]["w"] + 0.25 * members[1]["w"])


def test_a_winner_on_test_text_alone_is_not_chosen():
    """One member is planted that only the test text likes; the search sees dev text alone."""
    members = population(3)
    members.append({"w": TARGET + 9, "n": torch.tensor(9)})

    def on_test(state):
        return -float((state["w"] - TARGET - 9).square().mean())

    found = evolve(members, near, Evolution(generations=5))
    assert on_test(found.state) < on_test(members[3]) and found.score >= max(map(near, members))


def test_a_killed_search_goes_on_to_the_same_bytes(tmp_path):
    how, members, asked = Evolution(generations=6), population(), []

    def fitness(state):
        asked.append(1)
        if len(asked) == 15:
            raise KeyboardInterrupt
        return near(state)

    whole = evolve(members, near, how)
    with pytest.raises(KeyboardInterrupt):
        evolve(members, fitness, how, saved=Checkpoint(tmp_path, every=0))
    again = evolve(members, fitness, how, saved=Checkpoint(tmp_path, every=0))
    assert torch.equal(again.state["w"], whole.state["w"]) and again.log == whole.log and len(asked) < 28 + 10


def test_tied_weights_evolve_once_and_other_dtypes_come_back():
    states = [architectures.small("gpt2").bfloat16().state_dict() for _ in range(3)]
    for i, state in enumerate(states):
        state["transformer.wte.weight"] += 0.1 * i
    found = evolve(states, lambda state: float(state["transformer.wte.weight"].mean()), Evolution(generations=1)).state
    head = found["lm_head.weight"]
    assert head is found["transformer.wte.weight"] and head.dtype == torch.bfloat16
    architectures.small("gpt2").load_state_dict(found)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: evolve(population(2), near), "The paper rule needs 3 models or more, and here are 2"),
    (lambda: evolve(population(1), near, Evolution("code")), "The code rule needs 2 models or more, and here are 1"),
    (lambda: evolve(population(), lambda state: float("nan")), "The fitness of a model is NaN"),
    (lambda: evolve([*population(), {"w": torch.zeros(3), "n": torch.tensor(0)}], near), "The models differ in w"),
    (lambda: evolve([*population(), {"v": torch.zeros(60)}], near), "The models differ in n"),
    (lambda: evolve([*population(), {"w": TARGET / 0, "n": torch.tensor(0)}], near), "holds NaN or infinity"),
    (lambda: Evolution("other"), "rule is 'other'; choose one of paper, code"),
    (lambda: Evolution(f=2), "f is 2; choose a number from 0 to 1"), (lambda: Evolution(cr=-1), "cr is -1"),
    (lambda: Evolution(generations=0), "generations is 0; choose 1 or more")])
def test_what_cannot_evolve_is_one_sentence(call, words):
    with pytest.raises(EvolverError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
