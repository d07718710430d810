"""A lineage as typed settings: how each model is made, on which text, and every number a run depends on.

A model is made in exactly one way; its parents give the edges that are measured. `reading` makes these from TOML.
"""

from dataclasses import dataclass, field
from functools import cached_property

from pydantic import ConfigDict

from unifeat.support.errors import UnifeatError
from unifeat.support.theme import Look, Theme, theme

SOURCES = ("embedded", "hub", "files")
KINDS = ("relu", "topk", "batchtopk")
WAYS = ("train", "finetune", "merge", "checkpoint", "given", "untrained", "quantized", "perturbed")
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class LineageError(UnifeatError):
    """A lineage, or an override of one, that cannot be read."""


def _table(kind):
    """Decorator: a frozen dataclass that pydantic checks strictly."""
    kind.__pydantic_config__ = STRICT
    return dataclass(frozen=True)(kind)


@_table
class Corpora:
    """How text becomes tokens."""

    source: str  # embedded | hub | files: where the domains come from that do not say
    folder: str  # files: what the domains' paths start from; hub: a local folder in hub layout, "" = the hub itself
    vocab: int  # BPE vocabulary, the special token included
    context: int  # tokens per block
    max_bytes: int  # text kept per domain, 0 = all of it
    validation_share: float  # share of documents held out, chosen by the hash of their text
    tokenizer_bytes: int  # text per domain that the tokenizer is trained on
    seed: int  # order of the training documents


@_table
class Hub:
    """A data set on the hub."""

    name: str
    column: str
    revision: str  # commit, or its first digits
    keep: str = ""  # of a set that mixes both: python | prose


@_table
class Text:
    """One domain: where its documents come from under each source."""

    label: str = ""
    color: str = ""
    source: str = ""  # "" = corpora.source
    path: str = ""  # files: a folder or file, from the lineage's own folder; "" = the domain's name in corpora.folder
    embedded: str = ""  # the name of a set in embedded.toml
    hub: Hub | None = None
    language: str = ""  # python | lua: licence comments at the top of a file are left out


@_table
class Model:
    """Sizes of the models that are trained from scratch (Mistral architecture)."""

    layers: int
    d_model: int
    d_mlp: int
    heads: int
    kv_heads: int
    norm_eps: float
    rope_theta: float
    seed: int  # initial weights


@_table
class Training:
    """One language-model training run: AdamW, linear warm-up, cosine decay."""

    tokens: int
    batch: int  # blocks per step
    lr: float
    final_lr: float  # share of lr at the end of the cosine
    warmup: int  # steps
    weight_decay: float
    beta2: float
    clip: float  # gradient norm
    evaluations: int  # validation passes along the run, the first before any step
    seed: int  # order of the blocks
    text: tuple[str, ...] = ()  # domains, mixed by blocks in proportion to `weights`
    weights: tuple[float, ...] = ()  # one per domain; () = equal


@_table
class Checkpoint:
    """Where another model's training stood after `step` steps."""

    of: str
    step: int


@_table
class Untrained:
    """Random weights, of the sizes of the models that are trained from scratch, or those of a given model."""

    seed: int


@_table
class Perturbed:
    """The parent moved at random: every tensor by as much as in the child `like`, or by a share of its own norm."""

    like: str = ""
    share: float = 0.0
    seed: int = 0


@_table
class Member:
    """One model of a lineage: made in one of the WAYS, and how it is named and drawn."""

    label: str = ""  # "" = the name; in headings
    short: str = ""  # "" = the label; in narrow places
    phrase: str = ""  # "" = the short label; in sentences, as in "the base"
    color: str = ""
    text: tuple[str, ...] = ()  # domains of its SAEs, where nothing else says them; () = all
    parent: str = ""
    parents: tuple[str, ...] = ()  # of a given model that was made from two
    train: Training | None = None
    finetune: Training | None = None
    merge: tuple[str, ...] = ()  # two parents; t = 0 is the first
    method: str = "slerp"  # slerp | lerp
    published_t: float | None = None  # the t that a paper reports for this merge
    t: float | str = "balanced"  # a number, or balanced: both parents keep the same share of their accuracy
    checkpoint: Checkpoint | None = None
    given: str = ""  # a folder in Hugging Face layout (from the lineage's own folder), or a name on the hub
    revision: str = ""  # of a hub name: its commit, or the first digits
    untrained: Untrained | None = None
    quantized: int = 0  # bits to which the parent's weights are rounded
    perturbed: Perturbed | None = None

    @property
    def ways(self) -> list[str]:
        """The WAYS that are stated; a valid member has one."""
        return [way for way in WAYS if getattr(self, way)]

    @property
    def training(self) -> Training | None:
        """How it is trained, if it is."""
        return self.train or self.finetune

    @property
    def origins(self) -> tuple[str, ...]:
        """Names of the models it comes from."""
        return self.merge or self.parents or ((self.parent,) if self.parent else ())

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of all models without which it cannot be made."""
        return (*self.origins, *([self.checkpoint.of] if self.checkpoint else []),
                *([self.perturbed.like] if self.perturbed and self.perturbed.like else []))


@_table
class Evaluation:
    """Held-out text for losses and accuracies."""

    tokens: int  # per domain, at most
    ngram: int  # order of the n-gram baseline


@_table
class Merge:
    """The sweep along a merge."""

    points: int  # values of t in [0, 1], both ends included


@_table
class Sae:
    """Sparse autoencoders of every model, all seeds of a model on one stream of activations."""

    hook: str  # TransformerLens's name of the hook point whose activations they read
    kind: str  # relu | topk | batchtopk
    width: int  # latents
    k: int  # active latents per token (topk, batchtopk); the L0 that relu's l1 is steered to
    k_first: int  # topk, batchtopk: active latents at the first step
    k_anneal: float  # share of the steps over which they fall to k
    l1: float  # relu: first L1 coefficient
    seeds: tuple[int, ...]  # initial weights and batch order
    tokens: int  # activations seen by each SAE
    buffer: int  # distinct activations held, from which batches are drawn
    batch: int
    lr: float
    warmup: int  # steps
    decay: float  # share of the steps at the end over which the learning rate falls to zero
    beta2: float
    aux: float  # weight of the auxiliary loss that revives dead latents
    dead_after: int  # tokens without firing after which a latent counts as dead


@_table
class Comparison:
    """The common text on which features of all models are compared, and how."""

    tokens: int  # per domain
    min_fires: int  # a feature is live if it fires on at least so many of these tokens
    tau: float  # threshold on Pearson's r at which a feature persists
    bootstrap: int  # resamples of documents
    seed: int


@_table
class Controls:
    """The variants of notebook 09; every one trains SAEs on both ends of the first edge."""

    tokens: int  # activations each of their SAEs sees
    kinds: tuple[str, ...]
    expansions: tuple[int, ...]  # dictionary sizes, as multiples of the MLP's width
    lengths: tuple[float, ...]  # training lengths, as multiples of `tokens`


@_table
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
        """Models that `name` comes from."""
        earlier = [other for other, one in self.models.items() if one.checkpoint and one.checkpoint.of == name]
        earlier.sort(key=lambda other: self.models[other].checkpoint.step)
        return (*self.models[name].origins, *earlier[-1:])

    def children(self, name: str) -> tuple[str, ...]:
        """Models that come from `name`."""
        return tuple(child for parent, child in self.edges if parent == name)

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """Models without parents that are no null."""
        found = [name for name in self.names if not self.parents(name)]
        return tuple(name for name in found if not self.models[name].untrained) or tuple(found)

    def mix(self, name: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """Domains and weights of the text that a model was trained on, which its SAEs read; a merge's is its
        parents'."""
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

    @cached_property
    def layers(self) -> tuple[tuple[str, ...], ...]:
        """Models by the longest way from a root, so that those of one layer can be made side by side."""
        depth = {}

        def of(name):
            one = self.models[name]
            above = [other for other in one.needs if not one.checkpoint]  # a checkpoint is trained on its own
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
