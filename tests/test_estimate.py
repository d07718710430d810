from unifeat import estimate, profiles


def test_an_estimate_grows_with_what_is_asked_for():
    small = estimate.estimate(profiles.load("smoke"))
    longer = {f"{name}.tokens": 10**9 for name in ("base", "sae", "probe")}
    more = estimate.estimate(profiles.load("smoke", **longer))
    assert all(0 < value < 600 for value in small["seconds"].values()) and 1e9 < small["memory"] < 8e9
    for part in ("models", "SAEs", "matching"):
        assert more["seconds"][part] > 10 * small["seconds"][part]
    assert more["disk"] > 10 * small["disk"]
