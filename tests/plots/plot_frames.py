"""Lineages of several shapes, and made-up frames for every figure of any of them."""

from functools import cache
from itertools import product

import numpy as np
import pandas as pd

from unifeat import plots
from unifeat.plots import agreement
from unifeat.plots.checkpoints import FORMATS
from unifeat.plots.functional import VERDICTS
from unifeat.plots.merge_search import METHODS, RULES
from unifeat.plots.value_networks import METHODS as VALUES
from unifeat.support.theme import Look, theme

NOTE = "lineage of the tests; corpora: embedded stand-ins; text of comparison 131 k tokens, 1,024 blocks per domain"
MODELS = ("root", "left", "right", "merge")
EDGES = (("root", "left"), ("root", "right"), ("left", "merge"), ("right", "merge"))
DOMAINS = ("prose", "code", "tales", "scripts")
OWN = {"root": ("prose", "code"), "left": ("scripts",), "right": ("tales",), "merge": ("scripts", "tales")}
LONG = ("Pythia-410M, deduplicated, step 143000", "Pythia-410M fine-tuned on customer chats", "$$x_1",
        "Instruction-tuned, learning rate 2e-5", "Merge of chats and instructions (SLERP)", "_hidden",
        "Quantized to eight bits, per channel", "Perturbed at random, norm-matched")
TEXTS = ("a$b", "Customer chats, anonymized", "English web text (C4)", r"$\frac{1}{2}$",
         "Source code of many languages", "Legal opinions", "d", "Medical abstracts of PubMed")


def shape(names, edges, domains, own=None, labels=None):
    """A theme; without `own`, models take the domains in turn."""
    own = own or {name: (domains[number % len(domains)],) for number, name in enumerate(names)}
    labels = labels or {}
    return theme({name: Look(labels.get(name, "")) for name in names},
                 {name: Look(labels.get(name, "")) for name in domains}, edges, own)


NUMBERED = tuple(f"m{number}" for number in range(9))
TOPICS = tuple(f"d{number}" for number in range(8))
TANGLE = (("m0", "m1"), ("m0", "m2"), ("m2", "m3"), ("m1", "m4"), ("m2", "m4"), ("m0", "m5"), ("m3", "m6"),
          ("m1", "m6"), ("m0", "m7"))
SHAPES = {
    "diamond": shape(MODELS, EDGES, DOMAINS, OWN),
    "chain": shape(NUMBERED[:4], tuple(zip(NUMBERED[:3], NUMBERED[1:4], strict=True)), ("web", "chats", "code")),
    "star": shape(("root", *NUMBERED[:6]), tuple(("root", name) for name in NUMBERED[:6]), ("web", "law", *TOPICS[:4])),
    "two roots": shape(("one", "other", "both"), (("one", "both"), ("other", "both")), ("x", "y"),
                       {"one": ("x",), "other": ("y",), "both": ("x", "y")}),
    "alone": shape(("only",), (), ("x",)),
    "eight": shape(NUMBERED[:8], TANGLE, TOPICS, None, dict(zip(NUMBERED[:8] + TOPICS, LONG + TEXTS, strict=True))),
}
NINE = shape(NUMBERED, (*TANGLE, ("m0", "m8")), TOPICS)


def stats(look):
    sizes, rows = ((10033, 4.9e6), (2210, 11.2e6), (1189, 4.1e6), (156, 2.8e6)), []
    for number, domain in enumerate(look.domains):
        documents, size = sizes[number % 4]
        for split, share in (("train", 0.95), ("validation", 0.05)):
            rows.append((domain, split, f"{domain} of a vital encyclopedia, embedded stand-in",
                         round(documents * share), size * share, size * share / 3.4))
    return pd.DataFrame(rows, columns=["domain", "split", "source", "documents", "bytes", "tokens"])


def logs(look):
    rng, rows, x = np.random.default_rng(0), [], np.arange(100)
    for number, model in enumerate(look.models):
        losses = 2.9 + (5 - number / 3) * np.exp(-x / 15) + rng.normal(0, 0.06, 100)
        rows += [(model, s, 65536 * s, "train", "+".join(look.own[model]), loss) for s, loss in enumerate(losses)]
        for k, domain in enumerate(look.domains):
            rows += [(model, s, 65536 * s, "validation", domain, 3 + 0.13 * k + 3 * np.exp(-s / 30))
                     for s in range(0, 100, 20)]
    return pd.DataFrame(rows, columns=["model", "step", "tokens", "split", "domain", "loss"])


def losses(look):
    rng, rows = np.random.default_rng(1), []
    for model in (*look.models, "ngram"):
        for domain in look.domains:
            loss = 3.1 + rng.uniform(0, 0.2) + (0 if domain in look.own.get(model, ()) else 0.8)
            accuracy = np.nan if model == "ngram" else 0.42 - (0.08 if loss > 3.6 else 0)
            rows.append((model, domain, "validation", 131072, 450_000, loss, accuracy, loss / 1.95))
    return pd.DataFrame(rows, columns=["model", "domain", "split", "tokens", "bytes", "loss_nats", "accuracy",
                                       "bits_per_byte"])


def sweep(look):
    """Rows along t, and those of the model above; a domain's loss runs from 3 + its number to 4 less its tenth."""
    rows = []
    for method, bump in (("slerp", 0.35), ("lerp", 0.45)):
        for t in np.linspace(0, 1, 21):
            for k, domain in enumerate(look.domains):
                loss = (1 - t) * (3 + k) + t * (4 - k / 10) + bump * t * (1 - t)
                rows.append((method, t, domain, loss, 0.9 - loss / 10))
    rows += [("base", np.nan, domain, 6.5, 0.05) for domain in look.domains]
    return pd.DataFrame(rows, columns=["method", "t", "domain", "loss_nats", "accuracy"])


def kept(look, sources=("this run", "published")):
    """What a merge keeps: its first parent from all to 0.2, its second from 0.4 to all; published 0.1 more inside."""
    merge = next((name for name in look.models if sum(child == name for _, child in look.edges) == 2), None)
    rows, parents = [], [parent for parent, child in look.edges if child == merge]
    for source, bump in zip(sources, (0.0, 0.4), strict=False):
        for t in np.linspace(0, 1, 21):
            shares = (1 - 0.8 * t, 0.4 + 0.6 * t)
            rows += [(source, parent, t, share + bump * t * (1 - t)) for parent, share in zip(parents, shares,
                                                                                              strict=False)]
    return pd.DataFrame(rows, columns=["source", "parent", "t", "kept"])


def read_at(look, sources=("this run", "published")):
    """The points of `kept`: the crossings at t = 3/7, and the published curves at t = 0.58."""
    frame, rows = kept(look, sources), []
    for (source, parent), one in frame.groupby(["source", "parent"], sort=False):
        at = dict(balanced=3 / 7) | (dict(stated=0.58) if source == "published" else {})
        rows += [(source, point, t, parent, np.interp(t, one["t"], one["kept"])) for point, t in at.items()]
    return pd.DataFrame(rows, columns=["source", "point", "t", "parent", "kept"])


def saes(look):
    rng, rows = np.random.default_rng(4), []
    for model in look.models:
        for arm, seed in (("independent", 0), ("independent", 1), ("shared", 0)):
            rows.append((model, "batchtopk", seed, arm, 2048, 32 + rng.normal(0, 0.3), 0.12 + rng.normal(0, 0.006),
                         0.965 + rng.normal(0, 0.004), 0.985 + rng.normal(0, 0.002),
                         abs(rng.normal(0.02, 0.006)), 1980))
    return pd.DataFrame(rows, columns=["model", "kind", "seed", "arm", "width", "l0", "fvu", "ce_recovered_mean",
                                       "ce_recovered_zero", "dead_share", "live"])


def density(look):
    rng = np.random.default_rng(5)
    return pd.concat([pd.DataFrame({"model": model, "seed": seed, "log10_density":
                                    np.append(rng.normal(-2.8, 0.5, 800), [-np.inf] * 48)})
                      for model in look.models for seed in (0, 1)], ignore_index=True)


def history(look):
    tokens = np.linspace(1e5, 6e6, 40)
    return pd.concat([pd.DataFrame({"model": model, "seed": seed, "tokens": tokens,
                                    "fvu": 0.12 + 0.01 * k + 0.5 * np.exp(-tokens / (6e5 + 1e5 * seed))})
                      for k, model in enumerate(look.models) for seed in (0, 1)], ignore_index=True)


def ladder(look):
    rng, edges = np.random.default_rng(2), [f"{a} → {b}" for a, b in look.edges]
    groups = {"edges, independent SAEs": [(edge, 5, 4) for edge in edges],
              "seed ceiling: two SAEs of one model": [(model, 8, 2.5) for model in look.models],
              "raw MLP neurons, no SAE": [(f"neurons: {edge}", 5, 5) for edge in edges[:2]],
              "SAE of an untrained model": [(f"untrained → {model}", 2, 9) for model in [*look.models][:2]],
              "null: tokens permuted": [(f"{edge}, permuted", 2, 18) for edge in edges[:2]]}
    return pd.concat([pd.DataFrame({"comparison": name, "group": group, "r": rng.beta(a, b, 120)})
                      for group, rows in groups.items() for name, a, b in rows], ignore_index=True)


def verdicts(look):
    rng, found, causal, rows = np.random.default_rng(6), {}, {}, []
    for edge in look.edges:
        r = rng.uniform(0, 1, 300)
        found[edge] = pd.DataFrame(dict(r=r) | {name: r * rng.uniform(0.5, 1, 300)
                                                 for name in ("decoder", "encoder", "logits")})
        causal[edge] = pd.DataFrame(dict(r=r[:60], agreement=r[:60] ** 2, random=rng.normal(0, 0.05, 60)))
        causal[edge[1], edge[1]] = causal[edge].assign(agreement=0.2 + 0.8 * r[:60])
        rows += [dict(edge=" → ".join(edge), features=group, matched_by=by, verdict=verdict, observed=0.4, ci_low=0.37,
                      ci_high=0.43, ceiling=0.75, null=0.36 if group == "all" else 0.0, share=0.6, excess=0.53)
                 for group in ("all", "beyond one neuron") for by, verdict in agreement.SHARE_NAMES]
    return found, causal, pd.DataFrame(rows, columns=[*rows[0]] if rows else ["edge"])


def functions(look):
    """functional.csv: three verdicts per edge, each lower than the one before; ceilings of 0.72, 0.58 and 0.5."""
    rows = []
    for number, edge in enumerate(look.edges):
        for k, (verdict, ceiling) in enumerate(zip(VERDICTS, (0.72, 0.58, 0.5), strict=True)):
            observed = 0.08 + 0.09 * (number % 4) + (0, 0.07, -0.03)[k]
            rows.append(dict(edge=" → ".join(edge), verdict=verdict, pairs=120, observed=observed,
                             ci_low=observed - 0.02 - 0.01 * k, ci_high=observed + 0.02 + 0.02 * k, ceiling=ceiling,
                             ceiling_low=ceiling - 0.03, ceiling_high=ceiling + 0.03, null=0.01 * k if k else np.nan,
                             next_best=0.02 * k if k else np.nan))
    return pd.DataFrame(rows, columns=[*rows[0]] if rows else ["edge"])


def doses(look):
    """dose.csv and dose_merges.csv: the first edge's parent's children at six doses and two seeds, and their merges."""
    parent = look.edges[0][0] if look.edges else None
    children, rows, merges = [child for above, child in look.edges if above == parent], [], []
    for number, child in enumerate(children):
        for seed, dose, features in product((0, 1), (0.1, 0.3, 1, 3, 10, 30), ("all", "beyond_both")):
            seen = (0.7 if features == "all" else 0.4) * np.exp(-dose / 20) + 0.01 * seed
            share = dict(features=features, side="both", observed=seen, ci_low=seen - 0.02, ci_high=seen + 0.02,
                         ceiling=seen + 0.1, null=0.1)
            rows.append(dict(child=child, model_seed=seed, dose=dose, gain_nats=1.5 + 0.5 * np.log10(dose) + number / 9,
                             forgetting_nats=0.2 * dose**0.6, neuron_r=np.exp(-dose / 12)) | share)
            if number < 2 and not seed:
                merges.append(dict(merge=children[-1], dose=dose, parent=child, kept=0.8) | share)
    return (pd.DataFrame(rows, columns=[*rows[0]] if rows else ["child", "side", "features"]),
            pd.DataFrame(merges, columns=[*merges[0]] if merges else ["merge", "side"]))


def seeds(look):
    """replicates.csv: three language-model seeds and their means per edge."""
    rows = [dict(model_seed=seed, parent=parent, child=child, features=features, side="both", observed=0.6 + at / 20,
                 ci_low=0.55, ci_high=0.72, ceiling=0.76, null=0.2)
            for parent, child in look.edges for features in ("all", "beyond_both")
            for at, seed in enumerate(("0", "1", "2", "all"))]
    return pd.DataFrame(rows, columns=["model_seed", "parent", "child", "features", "side", "observed", "ci_low",
                                       "ci_high", "ceiling", "null"])


def changed(look):
    """ancestry.csv and nulls.csv of the first edge."""
    share = dict(side="both", observed=0.6, ci_low=0.55, ci_high=0.65, ceiling=0.76, null=0.2)
    child, sets = look.edges[0][1], ("all", "beyond_both")
    both = [dict(model=child, ancestry=kind, sae_text=text, features=features) | share
            for kind, text, features in product(("child", "none"), ("common", "own"), sets)]
    nulls = [dict(model=child, change=change, features=features) | share
             for change, features in product(("fine-tuned", "trained_on", "scratch", "untrained"), sets)]
    return pd.DataFrame(both), pd.DataFrame(nulls)


def searches(look):
    """merge_search.csv, merge_evolution.csv and merge_rates.csv: three seeds, two domains."""
    rng, domains = np.random.default_rng(8), [*look.domains][:2]
    rows = [dict(model_seed=seed, method=method, evaluations=64, split=split, domain=domain,
                 loss_nats=4 + at / 50 + rng.normal(0, 0.01))
            for seed in range(3) for at, method in enumerate(METHODS) for split in ("dev", "test")
            for domain in ("macro", *domains)]
    grown = [dict(model_seed=seed, method=method, generation=at, member=member, dev=4.4 - at / 20, test=4.5 - at / 20)
             for seed in range(3) for method in RULES for at in range(4) for member in ("0", "1", "best")]
    rates = [dict(rule=rule, f=f, cr=cr, dev=4.2 + f * cr, test=4.3 + f * cr)
             for rule in ("paper", "code") for f in (0.2, 0.5, 0.8) for cr in (0.1, 0.5, 0.9)]
    return pd.DataFrame(rows), pd.DataFrame(grown), pd.DataFrame(rates)


def carried():
    """value_networks.csv, value_means.csv, value_norms.csv, value_differences.csv and value_features.csv, in short."""
    rows, inside, shares = [], [], []
    for at, (method, seed) in enumerate(product(VALUES, range(3))):
        for target in ("the root itself", "half the width"):
            rows += [dict(model_seed=seed, target=target, method=method, domain=domain, task=domain == "x",
                          alone_nats=4.0, with_nats=3.4, tuned_nats=3.0, recovered=0.6 if domain == "x" else np.nan,
                          recovered_low=0.5, recovered_high=0.7) for domain in "xy"]
        inside += [dict(model_seed=seed, method=method, bin=number, true=number - 1.0, value=0.5 * number + at / 50)
                   for number in range(3)]
    for seed, parent, child in product(range(3), ("base", "tuned"), ("value", "value_1", "value_pretrained")):
        shares.append(dict(model_seed=seed, parent=parent, child=child, features="all", side="child", observed=0.4,
                           ci_low=0.35, ci_high=0.45, ceiling=0.6, null=0.1, null_untrained=0.05))
    means = [dict(target=target, method=method, recovered=0.6, rise_elsewhere=0.2)
             for target, method in product(("the root itself", "half the width"), VALUES)]
    norms = [dict(norm=norm, where=where, recovered=0.9 - at / 10, low=0.6, high=1.0)
             for where in ("seen", "unseen") for at, norm in enumerate((0.0, 0.1, 1.0, 10.0))]
    return [pd.DataFrame(one) for one in (rows, means, norms, inside, shares)]


def merges_kept(look, count=6):
    """merge_features.csv and merge_lost.csv: merges of two parents."""
    parents, rows, lost = list(look.models)[1:3], [], []
    for at in range(count):
        for parent, features in product(parents, ("all", "beyond_both")):
            rows.append(dict(merge=f"way_{at}", parent=parent, kept=0.6 + 0.05 * at, weight_distance=0.2 + 0.01 * at,
                             features=features, side="both", observed=0.3 + 0.02 * at, ci_low=0.28, ci_high=0.44,
                             ceiling=0.5, null=0.1))
        lost += [dict(merge=f"way_{at}", lost=0.2, lost_low=0.18, lost_high=0.22, lost_floor=0.15, novel=0.4,
                      novel_low=0.38, novel_high=0.42, novel_floor=0.3) for _ in range(2)]
    return pd.DataFrame(rows), pd.DataFrame(lost)


STEPS = (0, 10, 100, 1000)


def checkpoints(look):
    """checkpoints.csv and checkpoint_formats.csv: the first domain was seen, the next two were not."""
    tasks, rows = [*look.domains][:3], []
    for seed, (at, step), task, domain, form in product((0, 1), enumerate(STEPS), tasks, tasks, FORMATS):
        for arm in ("tuned", "small", "order") if task != tasks[0] and not seed else ("tuned",):
            gain = 1.2 - 0.1 * at if task == domain else -0.1 * at
            rows.append(dict(model_seed=seed, arm=arm, step=step, task=task, seen=task == tasks[0], domain=domain,
                             format=form, base_nats=5 - 0.5 * at, tuned_nats=5 - 0.5 * at - gain, gain_nats=gain,
                             gain_low=gain - 0.05, gain_high=gain + 0.05))
    spreads = [dict(model_seed=seed, step=step, task=task, spread=0.1, spread_low=0.05, spread_high=0.15)
               for seed, step, task in product((0, 1), STEPS, tasks)]
    return pd.DataFrame(rows), pd.DataFrame(spreads)


def histories(look):
    """The tables of life_histories, in the order of the figure's arguments."""
    rng, domains = np.random.default_rng(9), [*look.domains][:3]
    shared = [dict(step=step, features=features, side="parent", observed=0.1 + 0.1 * at, ci_low=0.08, ci_high=0.5,
                   ceiling=0.5, null=0.05) for at, step in enumerate(STEPS[:3]) for features in ("all", "beyond_both")]
    lives = [dict(path="training", order="as trained", seed=0, born=int(rng.integers(4)), died=False, domain=domain)
             for domain in domains for _ in range(20)]
    both = list(product(("training", "merge"), (0, 1)))
    survival = [dict(path=path, order=order, seed=seed, lived=lived, alive=0.9**lived, low=0.8**lived, high=0.95**lived)
                for path, seed in both for order in ("as trained", "shuffled") for lived in (1, 2, 3)]
    cohorts = [dict(path=path, seed=seed, born=born, alive_at_end=0.2 * born, low=0.15 * born, high=0.25 * born)
               for path, seed in both for born in range(4)]
    drift = [dict(path=path, seed=seed, r_median=0.5 + 0.1 * at, cosine_median=0.8) for path, seed in both
             for at in range(3)]
    joined = [dict(task=task, features_of_the_end=0.1 * at, gain_nats=1 - 0.1 * at) for task in domains[1:]
              for at in range(3)]
    return (*map(pd.DataFrame, (shared, lives, survival, cohorts, drift, joined)), list(STEPS))


def swap(look):
    rng = np.random.default_rng(7)
    rows = [(a, 0, b, rng.uniform(0.05, 0.6), rng.uniform(0.5, 1)) for a, b in product(look.models, repeat=2)]
    return pd.DataFrame(rows, columns=["sae_model", "seed", "model", "fvu", "ce_recovered_mean"])


def controls(x, **more):
    """A table of a control, one row per x, 0.4 observed under a ceiling of 0.7."""
    return pd.DataFrame(dict(x=x, observed=0.4, ci_low=0.37, ci_high=0.43, ceiling=0.7, null=0.0, excess=0.57,
                             excess_low=0.5, excess_high=0.63) | more)


def arms(look):
    edges = [f"{a} → {b}" for a, b in look.edges for _ in ("independent", "shared")]
    return controls(["independent", "shared"] * len(look.edges), edge=edges)


def scores(look):
    """Figure 6's groups of the first edge's child."""
    rng, names = np.random.default_rng(8), [*look.models]
    parent, model = look.edges[0] if look.edges else (None, names[0])
    child = next((child for parent_, child in look.edges if parent_ == model), None)
    short, phrase = look.short(model), look.model(child or model).phrase
    groups = [(f"{short} features", "features", model)]
    groups += [(f"persist into {phrase}", "features", model)] if child else []
    groups += [(f"emerged in {short}", "features", model),
               (f"vanished from {look.model(parent).phrase}", "features", parent)] if parent else []
    groups += [(f"neurons of {short}", "control", "neurons"), ("shuffled explanations", "control", model)]
    return pd.concat([pd.DataFrame(dict(group=group, kind=kind, model=of, explainer="lexical",
                                        simulation=rng.uniform(0, 1, 90), detection=rng.uniform(0.4, 1, 90)))
                      for group, kind, of in groups])


def halves(frame):
    """`autointerp.split.split` of `scores`: each group's first third are token features."""
    rows = []
    for (group, kind), part in frame.groupby(["group", "kind"], sort=False):
        for token, some in ((True, part[:len(part) // 3]), (False, part[len(part) // 3:])):
            rows += [(group, kind, token, score, len(some), some[score].mean(), some[score].mean() - 0.05,
                      some[score].mean() + 0.05) for score in ("simulation", "detection")]
    return pd.DataFrame(rows, columns=["group", "kind", "token", "score", "n", "mean", "ci_low", "ci_high"])


CODE = ["local", " options", " =", " {", "}", "\n", "        ", "for", " $key", ",", " value$", " in", " pairs", "(",
        "defaults", ")", " do", "\n", "\t\t", "options", "[", "key", "]", " =", " user", "_", "configuration", "[",
        "key"]
TALE = ["And", " the", " king", " said", " unto", " his", " servants", ",", " Come", " ye", ",", "\n", "and", " let",
        " us", " go", " forth", " —", b" caf\xc3", b"\xa9", " 中", " into", " the", " city", ";",
        " uncharacteristically"]


def cases(look):
    """Four cases; in the third, the second model lost the feature, and the fourth is unknown to the first model."""
    rng, names, made = np.random.default_rng(3), [*look.models], []
    for k, (title, tokens) in enumerate((("Universal: assignment", CODE), ("Near the threshold", TALE),
                                         ("Vanished", CODE), ("Only in the last", TALE))):
        signal = np.array([6.0 if token in (" =", ",") else 0.0 for token in tokens])
        activations = {model: np.maximum(signal + rng.normal(0, 0.8, len(tokens)), 0) for model in names}
        r, feature = dict.fromkeys(names, 0.93), {model: 100 * k + i for i, model in enumerate(names)}
        r[names[0]] = float("nan")
        if k == 2:
            activations[names[-1]], r[names[-1]] = np.zeros(len(tokens)), 0.31
        if k == 3:
            activations[names[0]], feature[names[0]] = None, None
        made.append({"title": title, "rule": "rule: highest mean r over the other models", "tokens": tokens, "r": r,
                     "activations": activations, "feature": feature, "reference": names[-1] if k == 3 else names[0]})
    return made


FIGURES = {
    "corpora": lambda look: plots.corpora(stats(look), look, note=NOTE),
    "loss_curves": lambda look: plots.loss_curves(logs(look), look, note=NOTE),
    "domain_matrix": lambda look: plots.domain_matrix(losses(look), look, note=NOTE),
    "merge_sweep": lambda look: plots.merge_sweep(sweep(look), look, picked=0.47, published_t=0.58, kept=kept(look),
                                                  points=read_at(look), note=NOTE),
    "sae_card": lambda look: plots.sae_card(saes(look), density(look), history(look), look, note=NOTE),
    "ladder": lambda look: plots.ladder(ladder(look), look, note=NOTE),
    "token_heatmap": lambda look: plots.token_heatmap(cases(look), look, note=NOTE),
    "swap": lambda look: plots.swap(swap(look), look, note=NOTE),
    "verdicts": lambda look: plots.verdicts(*verdicts(look), look, note=NOTE),
    "functional": lambda look: plots.functional(functions(look), look, note=NOTE),
    "dose": lambda look: plots.dose(*doses(look), look, note=NOTE),
    "replicates": lambda look: plots.replicates(seeds(look), look, note=NOTE),
    "arms": lambda look: plots.control(arms(look), "filled: independent, hollow: shared", look, note=NOTE),
    "mixes": lambda look: plots.control(controls([*look.domains, "balanced"]), "text", look, note=NOTE),
    "explanations": lambda look: plots.explanations(scores(look), look, NOTE, halves(scores(look))),
}


@cache
def drawn(name: str, shape: str = "diamond"):
    """A figure of a lineage of this shape, drawn once; not to be changed."""
    return FIGURES[name](SHAPES[shape])
