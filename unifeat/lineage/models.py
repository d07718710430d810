"""A run's language models, each made in the way that its lineage says and kept in the store."""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from unifeat import lm, merging
from unifeat.lineage import given
from unifeat.lineage.settings import Merging
from unifeat.lineage.texts import Texts
from unifeat.lm import nulls, training
from unifeat.support import parallel, tables

SWEEP = ["method", "t", "domain", "loss_nats", "accuracy"]
RULES = dict(slerp=merging.slerp, lerp=merging.lerp)


@dataclass(frozen=True, eq=False)
class Models(Texts):
    """The stages that make language models."""

    made: dict = dataclasses.field(default_factory=dict)  # results of a study that hold models of the lineage, by name

    def train_models(self, *names: str) -> None:
        """Make models (all) ready, those of one layer of the lineage side by side."""
        for layer in self.lineage.layers:
            layer = [name for name in layer if not names or name in names]
            trained = [name for name in layer if self.lineage.models[name].training]
            tokens = sum(self.lineage.models[name].training.tokens for name in trained)
            parallel.side_by_side(self.model_stage, trained, tokens, f"train {', '.join(trained)}")
            for name in sorted(layer, key=self._step, reverse=True):  # a checkpoint's training keeps the ones before it
                self.model_stage(name)

    @lru_cache  # noqa: B019 - a Run lives as long as its notebook
    def model_stage(self, name: str, bar=None):
        """The result that holds a model and the log of its losses."""
        if name in self.made:
            return self.made[name]
        one, tokens = self.lineage.models[name], self.lineage.evaluation.tokens
        above, inputs = [self.model_stage(other) for other in one.needs if not one.checkpoint], [self.corpus_stage]

        def make(build, config, inputs=inputs, bar=None, size=0):
            return self.stage(f"model-{name}", lambda folder: build(name, folder, bar), config, inputs, [build], bar,
                              size)

        if one.training:
            config = [self.lineage.model if one.train else None, one.training, tokens]
            return make(self._train, config, [*inputs, *above], bar, one.training.tokens)
        if one.checkpoint:
            return self._checkpoint(name, one.checkpoint, lambda folder: self._until(name, folder, bar), bar)
        if one.given:
            return make(self._take, [given.fingerprint(self.given[name]), tokens])
        if one.merge:
            if one.ends:
                return make(self._merge, [one.method, self.merge_t(name), tokens], above)
            return make(self._many, [one.method, one.options or Merging(), self.lineage.base(name), tokens],
                        [*inputs, *above, *map(self.model_stage, filter(None, [self.lineage.base(name)]))])
        if one.untrained:
            return make(self._untrained, [self.lineage.model, one.untrained, tokens,
                                          [given.fingerprint(path) for path in self._givens()]])
        return make(self._change, [one.quantized, one.perturbed, tokens], [*inputs, *above])

    def _train(self, name, folder, bar, of="", until=None):
        one, context = self.lineage.models[of or name], self.corpus.context
        model = self.model(one.parent) if one.parent else lm.build(self.lineage.model, len(self.corpus.tokenizer),
                                                                   context)
        blocks = {d: self.corpus.blocks(d, "train") for d in one.training.text}
        kept = {}
        for other, two in self.lineage.on_the_way(of or name).items():
            if other != name:
                kept.setdefault(two.checkpoint.step, []).append(partial(self._keep, other, two.checkpoint))
        log = training.train(model, blocks, one.training, self.validation(0.25), name, folder, bar, until, kept)
        self._trained(model, log, folder)

    def _trained(self, model, log, folder):
        lm.save(model, self.corpus.tokenizer, folder / "model")
        training.write_log(log, folder / "log.jsonl")

    def _checkpoint(self, name, at, build, bar=None):
        """A state of a model on its way. Training that passes by makes it; where the model is trained already, it is
        trained again up to there."""
        of = self.lineage.models[at.of]
        below = [self.model_stage(of.parent)] if of.parent else []
        return self.stage(f"model-{name}", build, [self.lineage.model if of.train else None, of.training, at.step,
                                                   self.lineage.evaluation.tokens], [self.corpus_stage, *below],
                          bar=bar, tokens=of.training.tokens)

    def _keep(self, name, at, model, log):
        self._checkpoint(name, at, lambda folder: self._trained(model, [row | dict(model=name) for row in log], folder))

    def _until(self, name, folder, bar):
        at = self.lineage.models[name].checkpoint
        self._train(name, folder, bar, at.of, at.step)

    def _step(self, name) -> int:
        """The step of a checkpoint; 0 of other models."""
        at = self.lineage.models[name].checkpoint
        return at.step if at else 0

    def _take(self, name, folder, bar):
        self._log(name, given.take(self.given[name], self.corpus.tokenizer, folder / "model"), folder)

    def _merge(self, name, folder, bar):
        one = self.lineage.models[name]
        model, other = (self.model(parent) for parent in one.merge)
        model.load_state_dict(merging.between(RULES[one.method], model.state_dict(), other.state_dict(),
                                              self.merge_t(name)))
        self._save(name, model, folder)

    def _many(self, name, folder, bar):
        """Merges beside slerp and lerp are made in `merges`, so that no key of other models holds their code."""
        raise NotImplementedError

    def _untrained(self, name, folder, bar):
        self._save(name, self.untrained(self.lineage.models[name].untrained.seed), folder)

    def _change(self, name, folder, bar):
        """A null: the parent with rounded or moved weights."""
        one = self.lineage.models[name]
        model = self.model(one.parent)
        state = model.state_dict()
        if one.quantized:
            state = nulls.quantized(state, one.quantized)
        else:
            how = one.perturbed
            lengths = (nulls.update_lengths(state, self.model(how.like).state_dict()) if how.like
                       else nulls.own_lengths(state, how.share))
            state = nulls.perturbed(state, lengths, how.seed)
        model.load_state_dict(state)
        self._save(name, model, folder)

    def _save(self, name, model, folder: Path):
        lm.save(model, self.corpus.tokenizer, folder / "model")
        self._log(name, model, folder)

    def _log(self, name, model, folder: Path):
        """The losses of a model that is not trained here, as a log of one step."""
        training.write_log([dict(model=name, step=0, tokens=0, split="validation", domain=domain,
                                 loss=lm.evaluate(model, blocks)["loss_nats"])
                            for domain, blocks in self.validation(0.25).items()], folder / "log.jsonl")

    def _givens(self) -> list[Path]:
        return list(self.given.values())[:1]

    def model_folder(self, name: str) -> Path:
        """Folder of a model in Hugging Face layout."""
        return self.model_stage(name).folder / "model"

    def model(self, name: str):
        """A fresh copy of a model, made first if need be."""
        return lm.load(self.model_folder(name))

    def untrained(self, seed: int | None = None):
        """A model of the lineage's architecture and sizes with random weights.

        seed: None for others than those that the trained models start from.
        """
        seed = self.lineage.model.seed + 1 if seed is None else seed
        if self.given:
            return given.untrained(self._givens()[0], seed)
        return lm.build(dataclasses.replace(self.lineage.model, seed=seed), len(self.corpus.tokenizer),
                        self.corpus.context)

    def logs(self, *names: str) -> pd.DataFrame:
        """Training logs: model, step, tokens, split, domain, loss (nats)."""
        return pd.concat([pd.read_json(self.model_stage(name).folder / "log.jsonl", lines=True)
                          for name in names], ignore_index=True)

    # Merges ---------------------------------------------------------------------------------------------------

    @property
    def merges(self) -> tuple[str, ...]:
        """Models that lie at some t between two parents: merged here by slerp or lerp, or given."""
        return tuple(name for name, one in self.lineage.models.items() if one.ends)

    def merge_sweep(self, name: str = "") -> pd.DataFrame | None:
        """merge_sweep.csv: losses and accuracies of SLERP and lerp over t between the parents of a merge, the first
        where
        `name` is ""; rows of method "base" are the parents' common parent, on the same text. None without a merge."""
        name = name or next(iter(self.merges), "")
        if not name:
            return None
        parents = self.lineage.models[name].origins
        above = self._above(parents)
        inputs = [self.corpus_stage, *(self.model_stage(one) for one in (*parents, *above))]
        return tables.read(self.stage(f"sweep-{'-'.join(parents)}", lambda folder: self._sweep(parents, above, folder),
                                      [self.lineage.merge, self.lineage.evaluation], inputs)).assign(merge=name)

    def _above(self, parents) -> tuple[str, ...]:
        """The one model that both parents come from, if there is one."""
        first, second = (self.lineage.models[one].origins for one in parents)
        return tuple(one for one in first if one in second)[:1]

    def _sweep(self, parents, above, folder):
        a, b = (self.model(name).state_dict() for name in parents)
        validation, rows = self.validation(0.5), {}
        values = np.linspace(0, 1, self.lineage.merge.points).round(6)

        def row(method, t, domain, blocks, model):
            found = lm.evaluate(model, blocks)
            return dict(method=method, t=t, domain=domain, loss_nats=found["loss_nats"], accuracy=found["accuracy"])

        def work(method, bar):
            model, rows[method] = self.model(parents[0]), []
            for t in values:
                model.load_state_dict(merging.between(RULES[method], a, b, float(t)))
                for domain, blocks in validation.items():
                    rows[method].append(row(method, t, domain, blocks, model))
                    bar.update(blocks.size)

        tokens = sum(blocks.size for blocks in validation.values())
        parallel.side_by_side(work, RULES, len(RULES) * len(values) * tokens, "SLERP and lerp sweep")
        for name in above:
            model = self.model(name)
            rows["base"] = [row("base", np.nan, domain, blocks, model) for domain, blocks in validation.items()]
        tables.write(folder, [one for part in rows.values() for one in part], SWEEP)

    def merge_t(self, name: str) -> float:
        """The t of a merge: as stated, or where both parents keep the same share of their accuracy on their own
        domains.

        A given merge's is where SLERP comes nearest to it. Where the shares do not cross, it is 0.5.
        """
        one = self.lineage.models[name]
        if one.given:
            inputs = [self.model_stage(other) for other in (*one.origins, name)]
            made = self.stage(f"nearest-{name}", lambda folder: self._nearest(name, folder), None, inputs)
            return float(tables.read(made)["t"][0])
        if one.t != "balanced":
            return float(one.t)
        try:
            return merging.balanced_t(self.merge_sweep(name), *(self.lineage.mix(parent)[0] for parent in one.merge))
        except ValueError:
            return 0.5

    def _nearest(self, name, folder):
        states = [self.model(other).state_dict() for other in (*self.lineage.models[name].origins, name)]
        tables.write(folder, [dict(t=merging.nearest_t(*states))], ["t"])

    def angles(self, name: str = "") -> pd.DataFrame | None:
        """Angle in degrees between the parents of a merge per tensor, and whether SLERP is a straight line there."""
        name = name or next(iter(self.merges), "")
        if not name:
            return None
        a, b = (self.model(parent).state_dict() for parent in self.lineage.models[name].origins)
        a, b = ({key: state[key] for key in merging.differing(a, b)} for state in (a, b))
        line = set(merging.straight(a, b))
        return pd.DataFrame([dict(tensor=key, degrees=round(angle, 3), lerp=key in line)
                             for key, angle in merging.angles(a, b).items()])
