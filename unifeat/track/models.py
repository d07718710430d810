"""Two models compared: two SAEs of each are trained on the same text, and one of a model that was never trained."""

from unifeat.lineage.run import Run
from unifeat.studies import baselines, persistence
from unifeat.support import parallel
from unifeat.track import estimate
from unifeat.track.found import Found
from unifeat.track.inputs import Thing
from unifeat.track.runs import TrackRun, start
from unifeat.track.text import Texts


def track(a: Thing, b: Thing, text: Texts, quick: bool = False, hook: str = "", activations: int = 0) -> Found:
    """Which features the models A and B share; what a killed call had computed is taken from the store.

    hook: the hook point that is read, "" for the MLP of the middle layer; activations: that each SAE sees, 0 for as
    many as fit the models, the text and some minutes.

    Raises:
        UnifeatError: models that cannot be read or compared, no such hook point, too little text.
    """
    run = start({"A": (a.where, a.label), "B": (b.where, b.label)}, text, quick, hook, activations=activations)
    print(estimate.of_models(run), flush=True)
    train(run)
    left, right = run.lineage.names
    one, two = run.lineage.sae.seeds[:2]
    pairs = [((left, i), (right, j)) for i, j in persistence.seed_pairs(run, "controlled")]
    twins = [((name, one), (name, two)) for name in (left, right)]
    calls = [*((Run.compare, *pair) for pair in (*pairs, *twins)), (baselines.rotated, *pairs[0]),
             (baselines.random, (left, one)), (baselines.random, (right, two))]
    persistence.ready(run, calls, "matching")
    rotated = baselines.rotated(run, *pairs[0])
    same = [run.compare(*pair) for pair in twins]
    return Found(
        "model", (a.label, b.label), (run,), [run.compare(*pair) for pair in pairs],
        {side: [(own.table, column) for column in ("parent", "child")] for side, own in zip("ab", same, strict=True)},
        {"rotated": {"a": [(rotated, "parent")], "b": [(rotated, "child")]},
         "untrained": {"a": [(baselines.random(run, (left, one)), "child")],
                       "b": [(baselines.random(run, (right, two)), "child")]}},
        (run.features(left, one), run.features(right, two)),
        {"a": same[0].table["r_of_a"], "b": same[1].table["r_of_b"]}, _saes(run), "over the last 5 % of their training")


def train(run: TrackRun) -> None:
    """Make the SAEs of both models and of an untrained one ready, and the features of both, under one progress bar."""
    names, size = run.lineage.names, run.lineage.sae.tokens
    text = len(run.comparison_text["block"])

    def work(name, bar):
        if name == "untrained":
            baselines.random_saes(run, bar)
        else:
            run.sae_stage(name, bar)
            run.look_stage(name)  # here, so that no comparison waits for another one's
        bar.update(text)

    parallel.side_by_side(work, [*names, "untrained"], (len(names) + 1) * (size + text), "SAEs of A, of B and "
                                                                                         "untrained")


def _saes(run: TrackRun) -> list[dict]:
    """What the SAEs are and how well they do."""
    logs, saes = run.sae_logs(), []
    for of, name in zip("AB", run.lineage.names, strict=True):
        for one in run.saes(name):
            last = logs[(logs["model"] == name) & (logs["seed"] == one.seed)].tail(5)
            saes.append(dict(of=of, model=name, seed=one.seed, kind=one.kind, width=one.width, k=one.k, hook=one.hook,
                             lm_hash=one.lm_hash, tokens=run.lineage.sae.tokens, l0=float(last["l0"].mean()),
                             fvu=float(last["fvu"].mean()), dead_share=float(one.dead_share),
                             live=len(run.live(name, one.seed))))
    return saes
