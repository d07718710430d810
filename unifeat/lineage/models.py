"""A run's text and language models, each made once and kept in the store: trained, merged, or given."""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from unifeat import lm, merging
from unifeat.lineage import given, given_corpora, given_tokenizers
from unifeat.lineage.settings import DOMAINS, Profile
from unifeat.lm import attention, ngram, train
from unifeat.support import parallel, paths, store, tables
from unifeat.text import archives, corpora, deduplicate, files, sources, tokenizer

CHILDREN = ("lua", "stories")
COLUMNS = ["model", "domain", "split", "tokens", "bytes", "loss_nats", "accuracy", "bits_per_byte"]


@dataclass(frozen=True, eq=False)
class Models:
    """The text and the language models of a run; every method computes or loads one stage."""

    profile: Profile
    root: Path
    figures: Path

    seconds: dict = field(default_factory=dict, repr=False)  # what each stage asked for so far cost when it was made
    given: dict = field(default_factory=dict)  # folders of the models that are not trained here, by role

    def _make(self, stage, build, config=None, inputs=(), modules=(), bar=None, tokens=0):
        """A stage's artefact; bar: a progress bar that `build` advances by `tokens`, and that skips what is stored."""
        modules, stored = (*modules, attention) if lm in modules else modules, True

        def built(folder):
            nonlocal stored
            stored = False
            build(folder)

        made = store.make(self.root, stage, built, config=config, inputs=inputs, code=store.code_version(*modules))
        self.seconds[stage] = made.seconds
        if stored and bar is not None:
            bar.skip(tokens)
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
            tokens = given_tokenizers.tokenizer(self.given["base"], config.context)
            return self._make("corpora", lambda folder: given_corpora.build(config, tokens, folder, paths.downloads()),
                              [config, sources.fingerprint(config), tokens.backend_tokenizer.to_str()],
                              modules=(corpora, tokenizer, sources, archives, files, deduplicate, given_corpora, given_tokenizers))
        return self._make("corpora", lambda folder: corpora.build(config, folder, paths.downloads()),
                          [config, sources.fingerprint(config)],
                          modules=(corpora, tokenizer, sources, archives, files, deduplicate))

    @cached_property
    def corpus(self) -> corpora.Corpus:
        """Packed tokens of the four domains and their tokenizer."""
        return (given_corpora if self.given else corpora).load(self._corpus_artefact.folder)

    def blocks(self, domain: str, split: str = "validation", tokens: int | None = None) -> np.ndarray:
        """Blocks (n, context) of a domain, at most `tokens`, evenly spaced over the split."""
        blocks = self.corpus.blocks(domain, split)
        n = min(len(blocks), (tokens or blocks.size) // self.corpus.context)
        return blocks[np.linspace(0, len(blocks) - 1, n).round().astype(int)]

    def _validation(self, share: float = 1.0) -> dict[str, np.ndarray]:
        return {d: self.blocks(d, tokens=int(self.profile.evaluation.tokens * share)) for d in DOMAINS}

    def train_children(self) -> None:
        """Make the two fine-tunes of the base ready, side by side."""
        self._model_artefact("base")
        tokens = sum(getattr(self.profile, name).tokens for name in CHILDREN)
        parallel.side_by_side(self._model_artefact, CHILDREN, tokens, f"train {', '.join(CHILDREN)}")

    @lru_cache  # noqa: B019 - a Run lives as long as its notebook
    def _model_artefact(self, name: str, bar=None):
        p = self.profile
        if name in self.given:
            return self._make(f"model-{name}", lambda folder: self._taken(name, folder),
                              [given.fingerprint(self.given[name]), p.evaluation.tokens], [self._corpus_artefact],
                              (lm, given))
        if name == "merged":
            t = self.picked()
            parents = [self._model_artefact("lua"), self._model_artefact("stories")]
            return self._make("model-merged", lambda folder: self._merged(t, folder), t, parents, (lm, merging))
        config = getattr(p, name)
        parents = [] if name == "base" else [self._model_artefact("base")]
        return self._make(f"model-{name}", lambda folder: self._train(name, config, folder, bar),
                          [p.model if name == "base" else None, config, p.evaluation.tokens],
                          [self._corpus_artefact, *parents], (lm, train), bar, config.tokens)

    def _train(self, name, config, folder, bar):
        context = self.corpus.context
        model = self.model("base") if name != "base" else lm.build(self.profile.model, len(self.corpus.tokenizer),
                                                                   context)
        blocks = {d: self.corpus.blocks(d, "train") for d in config.domains}
        log = train.train(model, blocks, config, self._validation(0.25), name, folder, bar)
        lm.save(model, self.corpus.tokenizer, folder / "model")
        train.write_log(log, folder / "log.jsonl")

    def _taken(self, name, folder):
        model = given.take(self.given[name], self.corpus.tokenizer, folder / "model")
        train.write_log([dict(model=name, step=0, tokens=0, split="validation", domain=domain,
                                 loss=lm.evaluate(model, blocks)["loss_nats"])
                            for domain, blocks in self._validation(0.25).items()], folder / "log.jsonl")

    def _merged(self, t, folder):
        model = self.model("lua")
        model.load_state_dict(given.between(merging.slerp, model.state_dict(), self.model("stories").state_dict(), t))
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
            return given.untrained(self.model_folder("base"), seed)
        return lm.build(dataclasses.replace(self.profile.model, seed=seed), len(self.corpus.tokenizer),
                        self.corpus.context)

    def logs(self, *names: str) -> pd.DataFrame:
        """Training logs: model, step, tokens, split, domain, loss (nats)."""
        return pd.concat([pd.read_json(self._model_artefact(name).folder / "log.jsonl", lines=True)
                          for name in names], ignore_index=True)

    # Losses and the merge -------------------------------------------------------------------------------------

    def losses(self, *names: str) -> pd.DataFrame:
        """models.csv rows for the given models ("ngram" is the Kneser-Ney baseline on the base's training text)."""
        return pd.concat(map(tables.read, parallel.spread(self._losses, names)), ignore_index=True)

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
        tables.write(folder, rows, COLUMNS)

    def _ngram_losses(self, name, folder):
        text = np.concatenate([self.corpus.tokens(d, "train") for d in self.profile.base.domains])
        counts = ngram.KneserNey(text, self.profile.evaluation.ngram, len(self.corpus.tokenizer))
        rows = [dict(model=name, domain=domain, split="validation", accuracy=np.nan)
                | ngram.evaluate(counts, blocks, self.corpus.token_bytes)
                for domain, blocks in self._validation().items()]
        tables.write(folder, rows, COLUMNS)

    def merge_sweep(self) -> pd.DataFrame:
        """merge_sweep.csv: losses and accuracies of SLERP and lerp over t (0 = Lua, 1 = Stories)."""
        parents = [self._model_artefact("lua"), self._model_artefact("stories")]
        return tables.read(self._make("sweep", self._sweep, [self.profile.merge, self.profile.evaluation],
                                      [self._corpus_artefact, *parents], (lm, merging)))

    def _sweep(self, folder):
        a, b = (self.model(name).state_dict() for name in CHILDREN)
        validation, rules, rows = self._validation(0.5), dict(slerp=merging.slerp, lerp=merging.lerp), {}
        values = np.linspace(0, 1, self.profile.merge.points).round(6)

        def work(method, bar):
            model, rows[method] = self.model("lua"), []
            for t in values:
                model.load_state_dict(given.between(rules[method], a, b, float(t)))
                for domain, blocks in validation.items():
                    found = lm.evaluate(model, blocks)
                    rows[method].append(dict(method=method, t=t, domain=domain, loss_nats=found["loss_nats"],
                                             accuracy=found["accuracy"]))
                    bar.update(blocks.size)

        tokens = sum(blocks.size for blocks in validation.values())
        parallel.side_by_side(work, rules, len(rules) * len(values) * tokens, "SLERP and lerp sweep")
        tables.write(folder, rows["slerp"] + rows["lerp"], ["method", "t", "domain", "loss_nats", "accuracy"])

    def picked(self) -> float:
        """The t of the merge: where both domains keep the same share of their own parent's accuracy.

        A given merge's is where SLERP comes nearest to it; it is 0.5 where given models' accuracies do not cross.
        """
        if "merged" in self.given:
            inputs = [self._model_artefact(name) for name in ("lua", "stories", "merged")]
            made = self._make("nearest", self._nearest, None, inputs, (lm, merging, given))
            return float(tables.read(made)["t"][0])
        try:
            return merging.balanced_t(self.merge_sweep())
        except ValueError:
            if self.given:
                return 0.5
            raise

    def _nearest(self, folder):
        states = [self.model(name).state_dict() for name in ("lua", "stories", "merged")]
        tables.write(folder, [dict(t=given.nearest_t(*states))], ["t"])

    def angles(self) -> pd.DataFrame:
        """Angle in degrees between the two parents per tensor, and whether SLERP fell back to lerp on it."""
        a, b = self.model("lua").state_dict(), self.model("stories").state_dict()
        a, b = ({name: state[name] for name in given.differing(a, b)} for state in (a, b))
        line = set(merging.straight(a, b))
        return pd.DataFrame([dict(tensor=name, degrees=round(angle, 3), lerp=name in line)
                             for name, angle in merging.angles(a, b).items()])

    def mix(self, name: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Domains and weights of the text a model was trained on; the merge's is both children's."""
        p = self.profile
        if name == "merged":
            return p.lua.domains + p.stories.domains, p.lua.weights + p.stories.weights
        return getattr(p, name).domains, getattr(p, name).weights
