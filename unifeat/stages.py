"""The stages of a run, each computed once and kept in the store: what the notebooks call.

    run = open_run("laptop")
    run.model("lua")      # trains the base model and the Lua child, or loads them
    run.persistence()     # the table behind Figure 2
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm.auto import tqdm

from unifeat import (
    corpora,
    duplicates,
    features,
    lm,
    matching,
    merge,
    ngram,
    paths,
    profiles,
    sae,
    sources,
    store,
    textfiles,
)
from unifeat.profiles import DOMAINS, MODELS, Profile

EDGES = (("base", "lua"), ("base", "stories"), ("lua", "merged"), ("stories", "merged"), ("base", "merged"))
ARMS = ("controlled", "as_published")
MODEL_COLUMNS = ["model", "domain", "split", "tokens", "bytes", "loss_nats", "accuracy", "bits_per_byte"]
SAE_COLUMNS = ["model", "kind", "seed", "arm", "width", "l0", "fvu", "ce_recovered_mean", "ce_recovered_zero",
               "dead_share", "live"]
PACKAGES = ("torch", "transformers", "tokenizers", "transformer-lens", "datasets", "numpy", "scipy", "matplotlib",
            "seaborn", "papermill")


def open_run(profile: str = "laptop", corpora_: str = "") -> "Run":
    """A run of `profile` on `corpora_`: "" (the profile's own), a source, or a folder with four domains.

    UNIFEAT_PROFILE and UNIFEAT_CORPORA in the environment win over the arguments.
    """
    profile = os.environ.get("UNIFEAT_PROFILE") or profile
    corpora_ = os.environ.get("UNIFEAT_CORPORA") or corpora_
    if not corpora_:
        overrides = {}
    elif corpora_ in profiles.SOURCES:
        overrides = {"corpora.source": corpora_}
    else:
        overrides = {"corpora.source": "files", "corpora.folder": str(Path(corpora_).expanduser().resolve())}
    return Run(profiles.load(profile, **overrides), paths.store(), paths.figures(profile, corpora_))


@dataclass(frozen=True, eq=False)
class Run:
    """One profile, its store and the folder its figures go to; every method computes or loads one stage."""

    profile: Profile
    root: Path
    figures: Path

    def _make(self, stage, build, config=None, inputs=(), modules=()):
        return store.make(self.root, stage, build, config=config, inputs=inputs, code=store.code_version(*modules))

    # Text and models ------------------------------------------------------------------------------------------

    @cached_property
    def _corpus_artefact(self):
        config = self.profile.corpora
        return self._make("corpora", lambda folder: corpora.build(config, folder, paths.downloads()),
                          [config, sources.fingerprint(config)], modules=(corpora, sources, textfiles, duplicates))

    @cached_property
    def corpus(self) -> corpora.Corpus:
        """Packed tokens of the four domains and their tokenizer."""
        return corpora.load(self._corpus_artefact.folder)

    def blocks(self, domain: str, split: str = "validation", tokens: int | None = None) -> np.ndarray:
        """Blocks (n, context) of a domain, at most `tokens`, evenly spaced over the split."""
        blocks = self.corpus.blocks(domain, split)
        n = min(len(blocks), (tokens or blocks.size) // self.corpus.context)
        return blocks[np.linspace(0, len(blocks) - 1, n).round().astype(int)]

    def _validation(self, share: float = 1.0) -> dict[str, np.ndarray]:
        return {d: self.blocks(d, tokens=int(self.profile.evaluation.tokens * share)) for d in DOMAINS}

    @lru_cache  # noqa: B019 - a Run lives as long as its notebook
    def _model_artefact(self, name: str):
        p = self.profile
        if name == "merged":
            t = self.picked()
            parents = [self._model_artefact("lua"), self._model_artefact("stories")]
            return self._make("model-merged", lambda folder: self._merged(t, folder), t, parents, (lm, merge))
        config = getattr(p, name)
        parents = [] if name == "base" else [self._model_artefact("base")]
        return self._make(f"model-{name}", lambda folder: self._train(name, config, folder),
                          [p.model if name == "base" else None, config, p.evaluation.tokens],
                          [self._corpus_artefact, *parents], (lm,))

    def _train(self, name, config, folder):
        context = self.corpus.context
        model = self.model("base") if name != "base" else lm.build(self.profile.model, len(self.corpus.tokenizer),
                                                                   context)
        blocks = {d: self.corpus.blocks(d, "train") for d in config.domains}
        log = lm.train(model, blocks, config, self._validation(0.25), name)
        lm.save(model, self.corpus.tokenizer, folder / "model")
        lm.write_log(log, folder / "log.jsonl")

    def _merged(self, t, folder):
        model = self.model("lua")
        model.load_state_dict(merge.slerp(model.state_dict(), self.model("stories").state_dict(), t))
        lm.save(model, self.corpus.tokenizer, folder / "model")

    def model_folder(self, name: str) -> Path:
        """Folder of a model (base, lua, stories or merged) in Hugging Face layout."""
        return self._model_artefact(name).folder / "model"

    def model(self, name: str):
        """A fresh copy of a model, trained first if need be."""
        return lm.load(self.model_folder(name))

    def logs(self, *names: str) -> pd.DataFrame:
        """Training logs: model, step, tokens, split, domain, loss (nats)."""
        return pd.concat([pd.read_json(self._model_artefact(name).folder / "log.jsonl", lines=True)
                          for name in names], ignore_index=True)

    # Losses and the merge -------------------------------------------------------------------------------------

    def losses(self, *names: str) -> pd.DataFrame:
        """models.csv rows for the given models ("ngram" is the Kneser-Ney baseline on the base's training text)."""
        return pd.concat([_table(self._losses(name)) for name in names], ignore_index=True)

    def _losses(self, name):
        p = self.profile
        inputs = [self._corpus_artefact] + ([] if name == "ngram" else [self._model_artefact(name)])
        build = self._ngram_losses if name == "ngram" else self._model_losses
        return self._make(f"losses-{name}", lambda folder: build(name, folder),
                          [p.evaluation, p.base.domains if name == "ngram" else None], inputs, (lm, ngram))

    def _model_losses(self, name, folder):
        model, rows = self.model(name), []
        for split in ("train", "validation"):
            for domain in DOMAINS:
                blocks = self.blocks(domain, split, self.profile.evaluation.tokens)
                rows.append(dict(model=name, domain=domain, split=split)
                            | lm.evaluate(model, blocks, self.corpus.token_bytes))
        _write_table(folder, rows, MODEL_COLUMNS)

    def _ngram_losses(self, name, folder):
        text = np.concatenate([self.corpus.tokens(d, "train") for d in self.profile.base.domains])
        counts = ngram.KneserNey(text, self.profile.evaluation.ngram, len(self.corpus.tokenizer))
        rows = [dict(model=name, domain=domain, split="validation", accuracy=np.nan)
                | ngram.evaluate(counts, blocks, self.corpus.token_bytes)
                for domain, blocks in self._validation().items()]
        _write_table(folder, rows, MODEL_COLUMNS)

    def merge_sweep(self) -> pd.DataFrame:
        """merge_sweep.csv: losses and accuracies of SLERP and lerp over t (0 = Lua, 1 = Stories)."""
        parents = [self._model_artefact("lua"), self._model_artefact("stories")]
        return _table(self._make("sweep", self._sweep, [self.profile.merge, self.profile.evaluation],
                                 [self._corpus_artefact, *parents], (lm, merge)))

    def _sweep(self, folder):
        model, rows = self.model("lua"), []
        a, b = model.state_dict(), self.model("stories").state_dict()
        a = {name: value.clone() for name, value in a.items()}
        validation = self._validation(0.3)
        values = np.linspace(0, 1, self.profile.merge.points).round(6)
        for t in tqdm(values, desc="SLERP and lerp sweep", mininterval=1):
            for method, rule in (("slerp", merge.slerp), ("lerp", merge.lerp)):
                model.load_state_dict(rule(a, b, float(t)))
                for domain, blocks in validation.items():
                    found = lm.evaluate(model, blocks)
                    rows.append(dict(method=method, t=t, domain=domain, loss_nats=found["loss_nats"],
                                     accuracy=found["accuracy"]))
        _write_table(folder, sorted(rows, key=lambda row: row["method"], reverse=True),
                     ["method", "t", "domain", "loss_nats", "accuracy"])

    def picked(self) -> float:
        """The t of the merge: where both domains keep the same share of their own parent's accuracy."""
        return merge.balanced_t(self.merge_sweep())

    def angles(self) -> pd.DataFrame:
        """Angle in degrees between the two parents per tensor, and whether SLERP fell back to lerp on it."""
        a, b = self.model("lua").state_dict(), self.model("stories").state_dict()
        line = set(merge.straight(a, b))
        return pd.DataFrame([dict(tensor=name, degrees=round(angle, 3), lerp=name in line)
                             for name, angle in merge.angles(a, b).items()])

    # Sparse autoencoders --------------------------------------------------------------------------------------

    def mix(self, name: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Domains and weights of the text a model was trained on; the merge's is both children's."""
        p = self.profile
        if name == "merged":
            return p.lua.domains + p.stories.domains, p.lua.weights + p.stories.weights
        return getattr(p, name).domains, getattr(p, name).weights

    @lru_cache  # noqa: B019
    def _sae_artefact(self, name: str):
        domains, weights = self.mix(name)

        def build(folder):
            blocks = [self.corpus.blocks(d, "train") for d in domains]
            trained, log = sae.train(self.model(name), blocks, weights, self.profile.sae, name)
            for one in trained:
                sae.save(one, folder / f"seed{one.seed}")
            lm.write_log(log, folder / "log.jsonl")

        return self._make(f"saes-{name}", build, [self.profile.sae, domains, weights],
                          [self._corpus_artefact, self._model_artefact(name)], (lm, sae))

    def saes(self, name: str) -> list[sae.Sae]:
        """The SAEs of a model, one per seed."""
        model = self.model(name)
        return [sae.load(self._sae_artefact(name).folder / f"seed{seed}", model) for seed in self.profile.sae.seeds]

    def sae_logs(self) -> pd.DataFrame:
        """SAE training logs: model, seed, tokens, fvu, l0, dead."""
        return pd.concat([pd.read_json(self._sae_artefact(name).folder / "log.jsonl", lines=True)
                          for name in MODELS], ignore_index=True)

    def _sae_metrics(self, name):
        def build(folder):
            rows = []
            domains, _ = self.mix(name)
            share = self.profile.evaluation.tokens // len(domains)
            blocks = np.concatenate([self.blocks(d, tokens=share) for d in domains])
            live = self._live(name)
            saes = self.saes(name)
            for one, found in zip(saes, sae.evaluate(saes, self.model(name), blocks), strict=True):
                np.save(folder / f"density{one.seed}.npy", found.pop("density"))
                rows.append(dict(model=name, kind=one.kind, seed=one.seed, arm="controlled", width=one.width,
                                 dead_share=one.dead_share, live=int(live[one.seed].sum())) | found)
            _write_table(folder, rows, SAE_COLUMNS)

        return self._make(f"sae-metrics-{name}", build, self.profile.evaluation,
                          [self._sae_artefact(name), self._feature_artefact(name)], (lm, sae))

    def sae_table(self) -> pd.DataFrame:
        """saes.csv: one row per SAE, metrics on held-out text of the model's own mix."""
        return pd.concat([_table(self._sae_metrics(name)) for name in MODELS], ignore_index=True)

    def densities(self) -> pd.DataFrame:
        """Firing density per latent: model, seed, log10_density (-inf for one that never fires)."""
        frames = []
        for name in MODELS:
            for seed in self.profile.sae.seeds:
                density = np.load(self._sae_metrics(name).folder / f"density{seed}.npy", allow_pickle=False)
                with np.errstate(divide="ignore"):
                    frames.append(pd.DataFrame(dict(model=name, seed=seed, log10_density=np.log10(density))))
        return pd.concat(frames, ignore_index=True)

    # Features and matches -------------------------------------------------------------------------------------

    @cached_property
    def probe(self) -> dict[str, np.ndarray]:
        """The common probe: blocks (n, context), and per kept token its block, position, document and domain."""
        found = corpora.probe(self.corpus, self.profile.probe.tokens)
        block, position = np.nonzero(found["blocks"])  # the special token, 0, is left out
        return dict(blocks=found["blocks"], block=block, position=position,
                    document=found["document"][block, position], domain=found["domain"][block])

    def _feature_artefact(self, name):
        def build(folder):
            x = features.probe_activations(self.model(name), self.probe["blocks"])
            for one in self.saes(name):
                sparse.save_npz(folder / f"seed{one.seed}.npz", features.encode(one, x), compressed=False)

        return self._make(f"features-{name}", build, self.profile.probe.tokens,
                          [self._corpus_artefact, self._sae_artefact(name)], (lm, sae, features, corpora))

    @lru_cache  # noqa: B019
    def features(self, name: str, seed: int) -> sparse.csr_matrix:
        """Latents of one SAE on the probe: (kept tokens, width)."""
        return sparse.load_npz(self._feature_artefact(name).folder / f"seed{seed}.npz")

    def _live(self, name):
        return {seed: features.fires(self.features(name, seed)) >= self.profile.probe.min_fires
                for seed in self.profile.sae.seeds}

    def live(self, name: str, seed: int) -> np.ndarray:
        """Indices of the features that fire on at least min_fires probe tokens."""
        return np.flatnonzero(self._live(name)[seed])

    def compare(self, a: tuple[str, int], b: tuple[str, int]) -> "Comparison":
        """Features of the SAE `a` = (model, seed) matched with those of `b`, live ones only."""
        artefact = self._make(f"match-{a[0]}{a[1]}-{b[0]}{b[1]}", lambda folder: self._compare(a, b, folder),
                              self.profile.probe, sorted({self._feature_artefact(m) for m in (a[0], b[0])},
                                                         key=lambda item: item.key), (matching, features))
        with np.load(artefact.folder / "match.npz", allow_pickle=False) as file:
            return Comparison(a, b, self.live(*a), self.live(*b), dict(file))

    def _compare(self, a, b, folder):
        left, right = (self.features(*which)[:, self.live(*which)] for which in (a, b))
        p = self.profile.probe
        found = matching.match(matching.correlate(left, right))
        null = matching.match(matching.correlate(left, matching.permute(right, p.seed)))
        resampled = matching.bootstrap(left, right, found, self.probe["document"], self.probe["domain"],
                                       p.bootstrap, p.seed)
        out = dict(best_of_a=found.partner_of_a, best_of_b=found.partner_of_b,
                   r_of_a=found.r.max(1, initial=-1), r_of_b=found.r.max(0, initial=-1), assigned=found.assigned,
                   r_assigned=found.r[tuple(found.assigned.T)],
                   null_of_a=null.r.max(1, initial=-1), null_of_b=null.r.max(0, initial=-1))
        for label, shares in (("observed", matching.persistence(found)), ("null", matching.persistence(null)),
                              ("resampled", resampled)):
            out |= {f"{label}.{rule}.{side}": value for (rule, side), value in shares.items()}
        np.savez(folder / "match.npz", **out)

    def seed_pairs(self, arm: str) -> list[tuple[int, int]]:
        """Seeds of parent and child that are compared: different ones (controlled), the same (as_published)."""
        seeds = self.profile.sae.seeds
        return [(a, b) for a in seeds for b in seeds if (a == b) == (arm == "as_published")]

    def twins(self, name: str) -> list["Comparison"]:
        """Comparisons of each two SAEs of one model: what the ceiling is made of."""
        seeds = self.profile.sae.seeds
        return [self.compare((name, a), (name, b)) for i, a in enumerate(seeds) for b in seeds[i + 1:]]

    def ceiling(self, name: str, rule: str) -> np.ndarray:
        """Share of a model's live features found again by another SAE of the same model, over matching.TAUS."""
        return np.mean([one.table[f"observed.{rule}.{side}"] for one in self.twins(name)
                        for side in ("parent", "child")], axis=0)

    def persistence(self) -> pd.DataFrame:
        """persistence.csv: every edge, arm, side, rule and threshold, with interval, ceiling, null and excess."""
        frames = []
        jobs = [(arm, edge) for arm in ARMS for edge in EDGES]
        for arm, (parent, child) in tqdm(jobs, desc="matching", mininterval=1):
            pairs = [self.compare((parent, a), (child, b)) for a, b in self.seed_pairs(arm)]
            for side, owner in (("parent", parent), ("child", child)):
                for rule in matching.RULES:
                    def mean(label, key=f"{rule}.{side}", pairs=pairs):
                        return np.mean([one.table[f"{label}.{key}"] for one in pairs], axis=0)

                    observed, null, ceiling = mean("observed"), mean("null"), self.ceiling(owner, rule)
                    low, high = np.nanpercentile(mean("resampled"), [2.5, 97.5], axis=0)
                    frames.append(pd.DataFrame(dict(
                        arm=arm, parent=parent, child=child, side=side, rule=rule, tau=matching.TAUS,
                        n_parent=np.mean([len(one.live_a) for one in pairs]),
                        n_child=np.mean([len(one.live_b) for one in pairs]), observed=observed, ci_low=low,
                        ci_high=high, ceiling=ceiling, null=null,
                        excess=matching.excess(observed, ceiling, null))))
        return pd.concat(frames, ignore_index=True)

    def flow(self, rule: str = "one_to_one", arm: str = "controlled") -> pd.DataFrame:
        """flow.csv: features that persist, emerge and disappear along each edge, and the merge's by origin.

        Counts are means over the seed pairs of `arm`; features of a child are split by which parents they match.
        """
        rows = []
        tau = self.profile.probe.tau
        for a, b in self.seed_pairs(arm):
            kept = {}
            for parent, child in EDGES[:4]:
                one = self.compare((parent, a), (child, b))
                kept[parent, child] = one.kept(rule, tau)
                for kind, side, has in (("persist", 1, True), ("emerge", 1, False), ("disappear", 0, False)):
                    mask = kept[parent, child][side] == has
                    rows.append((parent, child, kind, mask.sum(), mask.mean()))
            lua, stories = kept["lua", "merged"][1], kept["stories", "merged"][1]
            for origin, mask in (("both", lua & stories), ("lua only", lua & ~stories),
                                 ("stories only", stories & ~lua), ("new", ~lua & ~stories)):
                rows.append((origin, "merged", "emerge" if origin == "new" else "persist", mask.sum(), mask.mean()))
            lua, stories = kept["base", "lua"][0], kept["base", "stories"][0]
            for fate, mask in (("both", lua & stories), ("lua only", lua & ~stories),
                               ("stories only", stories & ~lua), ("neither", ~lua & ~stories)):
                rows.append(("base", fate, "disappear" if fate == "neither" else "persist", mask.sum(), mask.mean()))
        frame = pd.DataFrame(rows, columns=["source", "target", "kind", "features", "share"])
        return frame.groupby(["source", "target", "kind"], sort=False, as_index=False).mean()

    def ladder(self) -> pd.DataFrame:
        """Best-match r of every live feature of the child: per edge, for seed twins of each model, and permuted."""
        frames = []

        def add(group, comparison, one, label="r_of_b"):
            frames.append(pd.DataFrame(dict(group=group, comparison=comparison, r=one.table[label])))

        for parent, child in EDGES:
            for a, b in self.seed_pairs("controlled"):
                add("edges, independent SAEs", f"{parent} → {child}", self.compare((parent, a), (child, b)))
        for name in MODELS:
            for one in self.twins(name):
                add("seed ceiling: two SAEs of one model", name, one)
        for parent, child in EDGES[:4]:
            a, b = self.seed_pairs("controlled")[0]
            add("null: tokens permuted", f"{parent} → {child}", self.compare((parent, a), (child, b)), "null_of_b")
        return pd.concat(frames, ignore_index=True)

    @staticmethod
    def quantiles(ladder: pd.DataFrame) -> pd.DataFrame:
        """What the ladder draws, as numbers: count, mean and quantiles of best-match r per row."""
        found = ladder.groupby(["group", "comparison"], sort=False)["r"].describe(percentiles=[0.1, 0.25, 0.5, 0.75, 0.9])
        return found.drop(columns=["std"]).reset_index()

    # Cases ----------------------------------------------------------------------------------------------------

    def partners(self) -> pd.DataFrame:
        """Each live feature of the first base SAE with its best match and r in every model, and its seed twin's r.

        Base features are compared with SAEs of another seed, so no shared initial weights help.
        """
        first, second = self.profile.sae.seeds[:2]
        frame = pd.DataFrame(dict(base=self.live("base", first)))
        twin = self.compare(("base", first), ("base", second)).table
        frame["r_twin"] = twin["r_of_a"]
        for name in MODELS[1:]:
            one = self.compare(("base", first), (name, second))
            frame[name], frame[f"r_{name}"] = one.live_b[one.table["best_of_a"]], one.table["r_of_a"]
        frame["fires"] = features.fires(self.features("base", first))[frame["base"]]
        return frame

    def pick(self, rule: str) -> pd.Series:
        """The row of `partners` that a rule chooses among features that fire on 0.1-5 % of the probe.

        universal: the greatest least r over the three other models; persisting: the median r into Lua among those
        that persist there; nearest: r into Lua closest to tau; vanished: found again by the seed twin (r >= tau)
        and least r into Lua.
        """
        frame, tau = self.partners(), self.profile.probe.tau
        share = frame["fires"] / len(self.probe["block"])
        frame = frame[(share >= 0.001) & (share <= 0.05)] if ((share >= 0.001) & (share <= 0.05)).any() else frame
        if rule == "universal":
            return frame.loc[frame[[f"r_{name}" for name in MODELS[1:]]].min(axis=1).idxmax()]
        if rule == "persisting":
            kept = frame[frame["r_lua"] >= tau] if (frame["r_lua"] >= tau).any() else frame
            return kept.sort_values("r_lua", kind="stable").iloc[len(kept) // 2]
        if rule == "nearest":
            return frame.loc[(frame["r_lua"] - tau).abs().idxmin()]
        if rule == "vanished":
            found = frame[frame["r_twin"] >= tau] if (frame["r_twin"] >= tau).any() else frame
            return found.loc[found["r_lua"].idxmin()]
        raise ValueError(f"There is no rule {rule!r}; choose universal, persisting, nearest or vanished.")

    def case(self, rule: str, contexts: int = 2, width: int = 22) -> list[dict]:
        """Token heat-map cases for `plots.token_heatmap`: the chosen feature where it fires most, in four models."""
        row, probe = self.pick(rule), self.probe
        first, second = self.profile.sae.seeds[:2]
        columns = {"base": self.features("base", first)[:, int(row["base"])]}
        columns |= {name: self.features(name, second)[:, int(row[name])] for name in MODELS[1:]}
        at = np.full(probe["blocks"].shape, -1)
        at[probe["block"], probe["position"]] = np.arange(len(probe["block"]))
        cases, seen = [], set()
        for token in features.top_tokens(columns["base"].tocsc(), 0, 500):
            block, position = probe["block"][token], probe["position"][token]
            if probe["document"][token] in seen or len(cases) == contexts:
                continue
            seen.add(probe["document"][token])
            start = int(np.clip(position - width + 4, 0, probe["blocks"].shape[1] - width))
            ids, rows = probe["blocks"][block, start:start + width], at[block, start:start + width]
            shown = {name: np.where(rows >= 0, column[np.maximum(rows, 0)].toarray().ravel(), 0)
                     for name, column in columns.items()}
            cases.append(dict(
                title=f"{rule}: base feature {int(row['base'])}, context {len(cases) + 1} "
                      f"({DOMAINS[probe['domain'][token]]})", rule=RULES[rule],
                tokens=[corpora.token_text(self.corpus.tokenizer, i) for i in ids], activations=shown,
                r={name: float(row[f"r_{name}"]) for name in MODELS[1:]}, reference="base",
                feature={name: int(row[name]) for name in MODELS}))
        return cases

    @staticmethod
    def case_table(cases: list[dict]) -> pd.DataFrame:
        """The numbers behind token heat-maps, one row per token and model."""
        return pd.DataFrame([dict(case=case["title"], position=i, token=str(token),
                                  model=name, feature=case["feature"][name], r=case["r"].get(name),
                                  activation=case["activations"][name][i])
                             for case in cases for name in MODELS for i, token in enumerate(case["tokens"])])

    # Figures --------------------------------------------------------------------------------------------------

    def summary(self) -> dict:
        """What Figure 1 shows: sizes, data, losses and SAEs of this run."""
        p, losses, saes = self.profile, self.losses(*MODELS), self.sae_table()
        data = {name: " + ".join(dict.fromkeys(domain.capitalize() for domain in self.mix(name)[0]))
                for name in MODELS}
        models = {}
        for name in MODELS:
            own = losses[(losses["model"] == name) & (losses["split"] == "validation")
                         & losses["domain"].isin(self.mix(name)[0])]
            models[name] = dict(data=data[name], loss=own["loss_nats"].mean(), accuracy=own["accuracy"].mean(),
                                tokens=None if name == "merged" else getattr(p, name).tokens)
        means = saes.groupby("model")[["width", "l0", "live"]].mean()
        return dict(model=lm.describe(self.model("base")), models=models, merge=dict(t=self.picked()),
                    saes={name: dict(kind=p.sae.kind, **means.loc[name]) for name in MODELS})

    def note(self, more: str = "") -> str:
        """The caption line every figure carries: profile, text, and what stands in for what."""
        kinds = {"embedded": "embedded stand-ins, not the paper's data", "hub": "the paper's data sets",
                 "files": "your own files"}
        return f"Profile {self.profile.name}; corpora: {kinds[self.profile.corpora.source]}." + (more and f" {more}")

    def save(self, fig, name: str, **tables: pd.DataFrame):
        """Write figures/<name>.pdf, .png and .json and the tables under data/, and note them in the manifest.

        Nothing is rewritten that would not change. Returns the figure, for the notebook to show.
        """
        from unifeat import plots

        plots.write(fig, self.figures / name)
        for table, frame in tables.items():
            store.write_text(self.figures / "data" / f"{table}.csv", csv(frame))
        facts = self.provenance()
        store.write_text(self.figures / f"{name}.json", json.dumps(
            dict(figure=name, data=[f"data/{table}.csv" for table in tables], **facts), indent=1) + "\n")
        store.write_text(self.figures / "manifest.json", json.dumps(facts, indent=1) + "\n")
        self._time()
        if log := os.environ.get("UNIFEAT_SAVED"):
            with open(log, "a", encoding="utf-8") as file:
                file.write(f"{name}\n")
        return fig

    def provenance(self) -> dict:
        """What a result depends on: profile, corpora with hashes, seeds, package versions, commit of the code."""
        p = self.profile
        rows = [{key: row[key] for key in ("domain", "split", "source", "package", "version", "sha256", "licence",
                                           "documents", "bytes", "tokens")} for row in self.corpus.rows]
        return dict(profile=json.loads(json.dumps(dataclasses.asdict(p))), corpora=rows,
                    seeds=dict(corpora=p.corpora.seed, model=p.model.seed, base=p.base.seed, lua=p.lua.seed,
                               stories=p.stories.seed, saes=list(p.sae.seeds), probe=p.probe.seed),
                    packages={name: importlib.metadata.version(name) for name in PACKAGES}, commit=commit(),
                    device=f"{lm.device().type}, {platform.machine()}, {lm.compute_dtype()}".replace("torch.", ""))

    def _time(self):
        """Seconds per artefact of this store, in a file of their own since they differ from run to run."""
        found = [item for item in map(store.load, sorted(self.root.glob("[!.]*"))) if item]
        seconds = {item.folder.name: item.seconds for item in found}
        store.write_text(self.figures / "timings.json", json.dumps(seconds, indent=1) + "\n")


RULES = {
    "universal": "rule: greatest least r over the other three models",
    "persisting": "rule: median r into Lua among those with r ≥ tau",
    "nearest": "rule: r into Lua nearest to tau",
    "vanished": "rule: found again by the base's own seed twin, least r into Lua",
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """A stored match: `a` and `b` are (model, seed), live_* the latents compared, table the arrays of `_compare`."""

    a: tuple[str, int]
    b: tuple[str, int]
    live_a: np.ndarray
    live_b: np.ndarray
    table: dict

    def kept(self, rule: str, tau: float) -> tuple[np.ndarray, np.ndarray]:
        """Which live features of a and of b have a partner at r >= tau under best or one_to_one."""
        if rule == "best":
            return self.table["r_of_a"] >= tau, self.table["r_of_b"] >= tau
        pairs = self.table["assigned"][self.table["r_assigned"] >= tau]
        return (np.isin(np.arange(len(self.live_a)), pairs[:, 0]),
                np.isin(np.arange(len(self.live_b)), pairs[:, 1]))


def csv(frame: pd.DataFrame) -> str:
    """A table as text, floats rounded to 6 digits."""
    return frame.round(6).to_csv(index=False, lineterminator="\n")


def commit() -> str:
    """The last commit that changed code, notebooks or pins, "+" if they differ from it; "unknown" outside git."""
    code = ["unifeat", "notebooks", "requirements.lock"]
    try:
        def git(*arguments):
            return subprocess.run(["git", *arguments, "--", *code], cwd=paths.ROOT, check=True, capture_output=True,
                                  text=True).stdout.strip()

        return git("log", "-1", "--format=%H") + ("+" if git("status", "--porcelain") else "") or "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _write_table(folder: Path, rows: list[dict], columns: list[str]) -> None:
    (folder / "table.csv").write_text(csv(pd.DataFrame(rows)[columns]), encoding="utf-8")


def _table(artefact) -> pd.DataFrame:
    return pd.read_csv(artefact.folder / "table.csv")
