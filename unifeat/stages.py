"""The stages of a run, each computed once and kept in the store: what the notebooks call.

    run = open_run("laptop")
    run.model("lua")      # trains the base model and the Lua child, or loads them
    run.saes("lua")       # ... and that child's SAEs

    run = open_run("laptop", "folder of text", "base=path,lua=path")    # with models of yours
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from unifeat import (
    archives,
    attention,
    bpe,
    comparison,
    corpora,
    duplicates,
    features,
    intervals,
    lm,
    matching,
    merge,
    ngram,
    owncorpora,
    ownmodels,
    owntokens,
    paths,
    probes,
    profiles,
    sae,
    saetraining,
    sources,
    store,
    textfiles,
    threads,
    training,
)
from unifeat.profiles import DOMAINS, MODELS, Profile

MODEL_COLUMNS = ["model", "domain", "split", "tokens", "bytes", "loss_nats", "accuracy", "bits_per_byte"]
SAE_COLUMNS = ["model", "kind", "seed", "arm", "width", "l0", "fvu", "ce_recovered_mean", "ce_recovered_zero",
               "dead_share", "live"]

WORKERS = 4  # comparisons made at once, each with a few arrays of features x features in memory


def open_run(profile: str = "laptop", corpora_: str = "", models: str = "", hook: str = "") -> "Run":
    """A run of `profile` on `corpora_`: "" (the profile's own), a source, or a folder with four domains.

    models: "" (all are trained), or given ones (see `ownmodels.choose`); hook: "" (the profile's) or where SAEs read.
    UNIFEAT_PROFILE, _CORPORA, _MODELS and _HOOK in the environment win over the arguments.
    """
    names = [os.environ.get(f"UNIFEAT_{name}") or value for name, value in
             dict(PROFILE=profile, CORPORA=corpora_, MODELS=models, HOOK=hook).items()]
    settings = profiles.choose(names[0], names[1], names[3])
    given = ownmodels.choose(names[2], paths.downloads())
    return Run(ownmodels.fit(settings, given) if given else settings, paths.store(), paths.figures(*names), given=given)


@dataclass(frozen=True, eq=False)
class Run:
    """One profile, its store and the folder its figures go to; every method computes or loads one stage."""

    profile: Profile
    root: Path
    figures: Path

    seconds: dict = field(default_factory=dict, repr=False)  # what each stage asked for so far cost when it was made
    given: dict = field(default_factory=dict)  # folders of the models that are not trained here, by role

    def _make(self, stage, build, config=None, inputs=(), modules=()):
        modules = (*modules, attention) if lm in modules else modules
        made = store.make(self.root, stage, build, config=config, inputs=inputs, code=store.code_version(*modules))
        self.seconds[stage] = made.seconds
        return made

    @property
    def claims(self) -> bool:
        """Whether the notebooks' claims are to hold: for shipped profiles (but smoke), texts, models and hook point."""
        p = self.profile
        return (p.name in ("laptop", "paper") and p.corpora.source != "files" and p.sae.hook == lm.HOOK
                and not self.given)

    # Text and models ------------------------------------------------------------------------------------------

    @cached_property
    def _corpus_artefact(self):
        config = self.profile.corpora
        if self.given:
            tokens = owntokens.tokenizer(self.given["base"], config.context)
            return self._make("corpora", lambda folder: owncorpora.build(config, tokens, folder, paths.downloads()),
                              [config, sources.fingerprint(config), tokens.backend_tokenizer.to_str()],
                              modules=(corpora, bpe, sources, archives, textfiles, duplicates, owncorpora, owntokens))
        return self._make("corpora", lambda folder: corpora.build(config, folder, paths.downloads()),
                          [config, sources.fingerprint(config)],
                          modules=(corpora, bpe, sources, archives, textfiles, duplicates))

    @cached_property
    def corpus(self) -> corpora.Corpus:
        """Packed tokens of the four domains and their tokenizer."""
        return (owncorpora if self.given else corpora).load(self._corpus_artefact.folder)

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
        if name in self.given:
            return self._make(f"model-{name}", lambda folder: self._taken(name, folder),
                              [ownmodels.fingerprint(self.given[name]), p.evaluation.tokens], [self._corpus_artefact],
                              (lm, ownmodels))
        if name == "merged":
            t = self.picked()
            parents = [self._model_artefact("lua"), self._model_artefact("stories")]
            return self._make("model-merged", lambda folder: self._merged(t, folder), t, parents, (lm, merge))
        config = getattr(p, name)
        parents = [] if name == "base" else [self._model_artefact("base")]
        return self._make(f"model-{name}", lambda folder: self._train(name, config, folder),
                          [p.model if name == "base" else None, config, p.evaluation.tokens],
                          [self._corpus_artefact, *parents], (lm, training))

    def _train(self, name, config, folder):
        context = self.corpus.context
        model = self.model("base") if name != "base" else lm.build(self.profile.model, len(self.corpus.tokenizer),
                                                                   context)
        blocks = {d: self.corpus.blocks(d, "train") for d in config.domains}
        log = training.train(model, blocks, config, self._validation(0.25), name, folder)
        lm.save(model, self.corpus.tokenizer, folder / "model")
        training.write_log(log, folder / "log.jsonl")

    def _taken(self, name, folder):
        model = ownmodels.take(self.given[name], self.corpus.tokenizer, folder / "model")
        training.write_log([dict(model=name, step=0, tokens=0, split="validation", domain=domain,
                                 loss=lm.evaluate(model, blocks)["loss_nats"])
                            for domain, blocks in self._validation(0.25).items()], folder / "log.jsonl")

    def _merged(self, t, folder):
        model = self.model("lua")
        model.load_state_dict(ownmodels.between(merge.slerp, model.state_dict(), self.model("stories").state_dict(), t))
        lm.save(model, self.corpus.tokenizer, folder / "model")

    def model_folder(self, name: str) -> Path:
        """Folder of a model (base, lua, stories or merged) in Hugging Face layout."""
        return self._model_artefact(name).folder / "model"

    def model(self, name: str):
        """A fresh copy of a model, trained first if need be."""
        return lm.load(self.model_folder(name))

    def untrained(self):
        """A model of the base's architecture and sizes with random weights, not those that the base started from."""
        seed = self.profile.model.seed + 1
        if self.given:
            return ownmodels.untrained(self.model_folder("base"), seed)
        return lm.build(dataclasses.replace(self.profile.model, seed=seed), len(self.corpus.tokenizer),
                        self.corpus.context)

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
        validation = self._validation(0.5)
        values = np.linspace(0, 1, self.profile.merge.points).round(6)
        for t in tqdm(values, desc="SLERP and lerp sweep", mininterval=1):
            for method, rule in (("slerp", merge.slerp), ("lerp", merge.lerp)):
                model.load_state_dict(ownmodels.between(rule, a, b, float(t)))
                for domain, blocks in validation.items():
                    found = lm.evaluate(model, blocks)
                    rows.append(dict(method=method, t=t, domain=domain, loss_nats=found["loss_nats"],
                                     accuracy=found["accuracy"]))
        _write_table(folder, sorted(rows, key=lambda row: row["method"], reverse=True),
                     ["method", "t", "domain", "loss_nats", "accuracy"])

    def picked(self) -> float:
        """The t of the merge: where both domains keep the same share of their own parent's accuracy.

        A given merge's is where SLERP comes nearest to it; it is 0.5 where given models' accuracies do not cross.
        """
        if "merged" in self.given:
            inputs = [self._model_artefact(name) for name in ("lua", "stories", "merged")]
            return float(_table(self._make("nearest", self._nearest, None, inputs, (lm, merge, ownmodels)))["t"][0])
        try:
            return merge.balanced_t(self.merge_sweep())
        except ValueError:
            if self.given:
                return 0.5
            raise

    def _nearest(self, folder):
        states = [self.model(name).state_dict() for name in ("lua", "stories", "merged")]
        _write_table(folder, [dict(t=ownmodels.nearest_t(*states))], ["t"])

    def angles(self) -> pd.DataFrame:
        """Angle in degrees between the two parents per tensor, and whether SLERP fell back to lerp on it."""
        a, b = self.model("lua").state_dict(), self.model("stories").state_dict()
        a, b = ({name: state[name] for name in ownmodels.differing(a, b)} for state in (a, b))
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

    def train_saes(self) -> None:
        """Make the SAEs of all models ready, several models at a time."""
        for name in MODELS:
            self._model_artefact(name)
        p = self.profile.sae
        threads.side_by_side(self._sae_artefact, MODELS, len(MODELS) * p.tokens, f"SAEs of {', '.join(MODELS)}")

    @lru_cache  # noqa: B019
    def _sae_artefact(self, name: str, bar=None):
        domains, weights = self.mix(name)
        stored = True

        def build(folder):
            nonlocal stored
            stored = False
            blocks = [self.corpus.blocks(d, "train") for d in domains]
            trained, log = saetraining.train(self.model(name), blocks, weights, self.profile.sae, name, folder, bar)
            for one in trained:
                sae.save(one, folder / f"seed{one.seed}")
            training.write_log(log, folder / "log.jsonl")

        made = self._make(f"saes-{name}", build, [self.profile.sae, domains, weights],
                          [self._corpus_artefact, self._model_artefact(name)], (lm, sae, training, saetraining))
        if stored and bar is not None:
            bar.update(self.profile.sae.tokens)
        return made

    def saes(self, name: str) -> list[sae.Sae]:
        """The SAEs of a model, one per seed."""
        model = self.model(name)
        return [sae.load(self._sae_artefact(name).folder / f"seed{seed}", model) for seed in self.profile.sae.seeds]

    def sae(self, name: str, seed: int) -> "sae.Sae":
        """One SAE of a model."""
        return sae.load(self._sae_artefact(name).folder / f"seed{seed}", self.model(name))

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
            saes = self.saes(name)
            for one, found in zip(saes, sae.evaluate(saes, self.model(name), blocks), strict=True):
                np.save(folder / f"density{one.seed}.npy", found.pop("density"))
                rows.append(dict(model=name, kind=one.kind, seed=one.seed, arm="controlled", width=one.width,
                                 dead_share=one.dead_share, live=len(self.live(name, one.seed))) | found)
            _write_table(folder, rows, SAE_COLUMNS)

        return self._make(f"sae-metrics-{name}", build, self.profile.evaluation,
                          [self._sae_artefact(name), self._feature_artefact(name)], (lm, sae))

    def sae_table(self, *names: str) -> pd.DataFrame:
        """saes.csv: one row per SAE of the named models (all), metrics on held-out text of the model's own mix."""
        return pd.concat([_table(self._sae_metrics(name)) for name in names or MODELS], ignore_index=True)

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
        found = probes.take(self.corpus, self.profile.probe.tokens)
        block, position = np.nonzero(found["blocks"])  # the special token, 0, is left out
        return dict(blocks=found["blocks"], block=block, position=position,
                    document=found["document"][block, position], domain=found["domain"][block])

    def _feature_artefact(self, name):
        def build(folder):
            x = features.probe_activations(self.model(name), self.probe["blocks"], self.profile.sae.hook)
            for one in self.saes(name):
                sparse.save_npz(folder / f"seed{one.seed}.npz", features.encode(one, x), compressed=False)

        return self._make(f"features-{name}", build, self.profile.probe.tokens,
                          [self._corpus_artefact, self._sae_artefact(name)], (lm, sae, features, probes))

    @lru_cache  # noqa: B019
    def features(self, name: str, seed: int) -> sparse.csr_matrix:
        """Latents of one SAE on the probe: (kept tokens, width)."""
        return sparse.load_npz(self._feature_artefact(name).folder / f"seed{seed}.npz")

    @lru_cache  # noqa: B019
    def live(self, name: str, seed: int) -> np.ndarray:
        """Indices of the features that fire on at least min_fires probe tokens."""
        return np.flatnonzero(features.fires(self.features(name, seed)) >= self.profile.probe.min_fires)

    @lru_cache(maxsize=256)  # noqa: B019 - tables of about a megabyte
    def compare(self, a: tuple[str, int], b: tuple[str, int]) -> "Comparison":
        """Features of the SAE `a` = (model, seed) matched with those of `b`, live ones only."""
        artefact = self._make(f"match-{a[0]}{a[1]}-{b[0]}{b[1]}", lambda folder: self._compare(a, b, folder),
                              self.profile.probe, sorted({self._feature_artefact(m) for m in (a[0], b[0])},
                                                         key=lambda item: item.key),
                              (matching, intervals, comparison, features))
        with np.load(artefact.folder / "match.npz", allow_pickle=False) as file:
            return Comparison(a, b, self.live(*a), self.live(*b), dict(file))

    def compare_all(self, pairs: list[tuple]) -> None:
        """Make the comparisons of `pairs` ready, several at a time: scipy's sparse products let threads run."""
        with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
            made = pool.map(lambda pair: self.compare(*pair), pairs)
            for _ in tqdm(made, desc="matching", total=len(pairs), mininterval=1):
                pass

    def _compare(self, a, b, folder):
        left, right = (self.features(*which)[:, self.live(*which)] for which in (a, b))
        p = self.profile.probe
        np.savez(folder / "match.npz", **comparison.compare(left, right, self.probe["document"], self.probe["domain"],
                                                          p.bootstrap, p.seed, with_null=a[0] != b[0]))


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


def _write_table(folder: Path, rows: list[dict], columns: list[str]) -> None:
    (folder / "table.csv").write_text(csv(pd.DataFrame(rows)[columns]), encoding="utf-8")


def _table(artefact) -> pd.DataFrame:
    return pd.read_csv(artefact.folder / "table.csv")
