"""Work side by side: all of it done, ended early by one failure, torch's threads left as they were."""

import io
import time

import pytest
import torch

from unifeat.support import parallel


def test_all_is_done_and_the_bar_counts_it(capsys):
    done, within = [], []

    def work(name, bar):
        within.append(torch.get_num_threads())
        bar.update(10)
        done.append(name)

    before = torch.get_num_threads()
    parallel.side_by_side(work, "abc", 30, "letters")
    assert sorted(done) == ["a", "b", "c"] and torch.get_num_threads() == before
    assert all(count * min(3, before) <= before for count in within)


def test_one_failure_ends_the_others_early():
    steps = []

    def work(name, bar):
        if name == "bad":
            raise ValueError("no good")
        for _ in range(2000):
            time.sleep(0.005)
            steps.append(name)
            bar.update(1)

    with pytest.raises(ValueError, match="no good"):
        parallel.side_by_side(work, ["bad", "long", "never"], 4000, "work")
    assert len(steps) < 2000


def test_what_was_done_before_says_nothing_of_the_rate():
    with parallel.Bar(total=100, file=io.StringIO()) as bar:
        bar.skip(90)
        time.sleep(0.05)
        bar.update(5)
        assert bar.n == 95 and bar.format_dict["initial"] == 90
        assert (bar.format_dict["rate"] or 5 / bar.format_dict["elapsed"]) < 101


def test_what_is_spread_comes_back_in_order_and_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    found = list(parallel.spread(lambda i: (time.sleep(0.02 * (3 - i)), i, torch.get_num_threads())[1:], range(3)))
    assert [i for i, _ in found] == [0, 1, 2] and torch.get_num_threads() == before
    assert all(count * min(3, before) <= before for _, count in found)


def test_a_bar_that_is_off_takes_the_same_calls():
    with parallel.Bar(total=10, disable=True) as bar:  # as with TQDM_DISABLE in the environment
        bar.skip(5)
        bar.update(5)
