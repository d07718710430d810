"""Near-duplicate documents: which go, which stay, and that none is missed."""

import numpy as np
from made_up import text

from unifeat.text import deduplicate


def test_near_duplicates_go_and_neighbours_stay():
    words = text(1, 400).split()
    near = words.copy()
    near[200] = "changed"
    far = words[:200] + text(2, 200).split()
    kept = deduplicate.distinct([" ".join(w) for w in (words, near, far)] + [text(3)])
    assert kept.tolist() == [True, False, True, True]
    a, b, c = (np.unique(deduplicate._shingles([" ".join(w)])[0]) for w in (words, near, far))
    assert deduplicate._jaccard(a, b) > 0.8 > deduplicate._jaccard(a, c) > 0.2


def test_every_near_pair_of_a_larger_set_is_found():
    base = [text(n, 120).split() for n in range(60)]
    rng = np.random.default_rng(0)
    places = rng.integers(0, 120, 60)
    changed = [[*words[:i], "other", *words[i + 1:]] for words, i in zip(base, places, strict=True)]
    kept = deduplicate.distinct([" ".join(words) for words in base + changed])
    assert kept[:60].all() and not kept[60:].any()


def test_runs_of_words_stay_within_their_text():
    texts = ["", "a b", text(1), "one", text(2, 8), text(3, 7), text(4, 9)]
    runs, starts = deduplicate._shingles(texts)
    assert np.diff([*starts, len(runs)]).tolist() == [1, 1, 53, 1, 1, 1, 2]
    alone = [deduplicate._shingles([each])[0] for each in texts]
    assert runs.tolist() == np.concatenate(alone).tolist() and len(set(runs.tolist())) == len(runs)


def test_no_text_at_all():
    assert deduplicate.distinct([]).tolist() == [] and deduplicate.distinct(["", "  \n"]).tolist() == [True, False]
