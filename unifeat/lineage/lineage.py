"""A lineage: how each model is made, on which text, and every number a run depends on.

A model is made in exactly one way; its parents give the edges that are measured. `reading` makes lineages from TOML.
"""

from dataclasses import field
from functools import cached_property

from unifeat.lineage.settings import (
    Checkpoint,
    Comparison,
    Controls,
    Corpora,
    Evaluation,
    Member,
    Merge,
    Model,
    Sae,
    Studies,
    Text,
    table,
)
from unifeat.support.theme import Look, Theme, theme


@table
class Lineage:
    """One run of the whole repository: models, text, and the numbers that all of them share."""

    name: str
    corpora: Corpora
    text: dict[str, Text]
    model: Model
    models: dict[str, Member]
    evaluation: Evaluation
    merge: Merge
    sae: Sae
    comparison: Comparison
    controls: Controls
    studies: Studies
    published: Sae | None = None  # the SAEs of the arm as_published, where there is one
    compare: tuple[tuple[str, str], ...] = ()  # pairs to compare beside the edges
    shipped: bool = field(default=False, compare=False)  # whether it came with the package, unchanged

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Models in the order of the file."""
        return tuple(self.models)

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """Domains in the order of the file."""
        return tuple(self.text)

    @cached_property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """(parent, child) of every model, in the order of the children; a checkpoint is a parent of its model."""
        return tuple((parent, child) for child in self.names for parent in self.parents(child))

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The edges and the pairs of `compare`: all that persistence is measured on."""
        return self.edges + tuple(pair for pair in self.compare if pair not in self.edges)

    def parents(self, name: str) -> tuple[str, ...]:
        """Models that `name` comes from; a model with checkpoints, and each of these, comes from the one before it."""
        one = self.models[name]
        of = one.checkpoint.of if one.checkpoint else name
        steps = {other: two.checkpoint.step for other, two in self.models.items()
                 if two.checkpoint and two.checkpoint.of == of and other != name
                 and not (one.checkpoint and two.checkpoint.step >= one.checkpoint.step)}
        return (max(steps, key=steps.get),) if steps else self.models[of].origins

    def base(self, name: str) -> str:
        """The model whose changes a merge adds up: as stated, or the one parent that all its parents share; "" if none.
        """
        one = self.models[name]
        common = set.intersection(*({*self.models[other].origins} for other in one.merge)) if one.merge else ()
        return one.options.base if one.options and one.options.base else min(common, default="")

    def on_the_way(self, of: str) -> dict[str, Member]:
        """Checkpoints of a model by name: the lineage's own, and of the first root those of [studies]."""
        found = {name: one for name, one in self.models.items() if one.checkpoint and one.checkpoint.of == of}
        if of == self.roots[0] and self.models[of].training:
            found |= {f"{of}-{step}": Member(checkpoint=Checkpoint(of, step)) for step in self.studies.checkpoints}
        return found

    def children(self, name: str) -> tuple[str, ...]:
        """Models that come from `name`."""
        return tuple(child for parent, child in self.edges if parent == name)

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """Models without parents that are no null."""
        found = [name for name in self.names if not self.parents(name)]
        return tuple(name for name in found if not self.models[name].untrained) or tuple(found)

    def mix(self, name: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Domains and weights of the text that a model was trained on; a merge's is its parents'."""
        one = self.models[name]
        if one.training:
            return one.training.text, one.training.weights
        above = one.origins or ((one.checkpoint.of,) if one.checkpoint else ())
        if one.text or one.given or not above:
            text = one.text or self.domains
            return text, (1.0,) * len(text)
        total = {}
        for parent in above:
            for domain, weight in zip(*self.mix(parent), strict=True):
                total[domain] = total.get(domain, 0.0) + weight
        return tuple(total), tuple(total.values())

    def sae_text(self, name: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Domains and weights of the text that a model's SAEs read: the same for all models, the model's own, or that
        of the model which sae.text names."""
        if self.sae.text == "common":
            return self.domains, (1.0,) * len(self.domains)
        return self.mix(name if self.sae.text == "own" else self.sae.text)

    @cached_property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """Models by the longest way from a root, so that those of one layer can be made side by side."""
        depth = {}

        def of(name):
            one = self.models[name]
            above = self.models[one.checkpoint.of].origins if one.checkpoint else one.needs
            return depth.setdefault(name, 1 + max(map(of, above), default=-1))

        for name in self.names:
            of(name)
        return tuple(tuple(name for name in self.names if depth[name] == level)
                     for level in range(1 + max(depth.values())))

    @cached_property
    def theme(self) -> Theme:
        """Labels and colors of models and domains."""
        return theme({name: Look(one.label, one.short, one.phrase, one.color) for name, one in self.models.items()},
                     {name: Look(one.label, "", "", one.color) for name, one in self.text.items()},
                     self.edges, {name: self.mix(name)[0] for name in self.names})
