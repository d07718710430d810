"""The settings of a lineage, one typed table per section of its TOML."""

from dataclasses import dataclass

from pydantic import ConfigDict

from unifeat.support.errors import UnifeatError

SOURCES = ("embedded", "hub", "files")
KINDS = ("relu", "topk", "batchtopk")
READS = ("common", "own")
PACKAGE = "package:"  # begins the name of a given model in a pinned package
LINES = ("slerp", "lerp")  # merges that lie at some t between two models
CHANGES = ("task_arithmetic", "ties", "dare")  # merges of what children changed in a base
METHODS = (*LINES, "linear", *CHANGES, "fisher", "regmean", "evolver")
WAYS = ("train", "finetune", "merge", "checkpoint", "given", "untrained", "quantized", "perturbed")
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class LineageError(UnifeatError):
    """A lineage, or an override of one, that cannot be read."""


def table(kind):
    """Decorator: a frozen dataclass that pydantic checks strictly."""
    kind.__pydantic_config__ = STRICT
    return dataclass(frozen=True)(kind)


@table
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


@table
class Hub:
    """A data set on the hub."""

    name: str
    column: str
    revision: str  # commit, or its first digits
    keep: str = ""  # of a set that mixes both: python | prose


@table
class Text:
    """One domain: where its documents come from under each source."""

    label: str = ""
    color: str = ""
    source: str = ""  # "" = corpora.source
    path: str = ""  # files: a folder or file, from the lineage's own folder; "" = the domain's name in corpora.folder
    embedded: str = ""  # the name of a set in embedded.toml
    hub: Hub | None = None
    language: str = ""  # python | lua: licence comments at the top of a file are left out


@table
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


@table
class Training:
    """One language-model training run: AdamW (and Muon), linear warm-up, cosine decay."""

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
    muon: float = 0.0  # learning rate of the layers' matrices, by Muon; 0 = AdamW for them too
    text: tuple[str, ...] = ()  # domains, mixed by blocks in proportion to `weights`
    weights: tuple[float, ...] = ()  # one per domain; () = equal


@table
class Checkpoint:
    """Where another model's training stood after `step` steps."""

    of: str
    step: int


@table
class Untrained:
    """Random weights, of the sizes of the models that are trained from scratch, or those of a given model."""

    seed: int


@table
class Perturbed:
    """The parent moved at random: every tensor by as much as in the child `like`, or by a share of its own norm."""

    like: str = ""
    share: float = 0.0
    seed: int = 0


@table
class Merging:
    """What merges beside slerp and lerp may need; a method passes over what it does not read."""

    base: str = ""  # task_arithmetic, ties, dare: the model whose changes are added; "" = the parents' common parent
    weights: tuple[float, ...] = ()  # one per parent; () = 1 each. Not of regmean and evolver
    density: float = 0.5  # ties, dare: the share of every change that is kept
    scale: float = 1.0  # task_arithmetic, ties, dare: what the summed change is multiplied by
    tokens: int = 25_000  # fisher, regmean: training text of each parent; evolver: development text, per domain
    rule: str = "paper"  # evolver: how it mutates, paper or code
    f: float = 0.5  # evolver: size of a mutation
    cr: float = 0.5  # evolver: share of the weights that cross over
    generations: int = 15  # evolver
    seed: int = 0  # dare, fisher, evolver


@table
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
    merge: tuple[str, ...] = ()  # two parents; t = 0 is the first; of other methods than slerp and lerp two or more
    method: str = "slerp"  # one of METHODS
    options: Merging | None = None  # of the methods beside slerp and lerp; None = the defaults
    published_t: float | None = None  # the t that a paper reports for this merge
    published_sweep: str = ""  # a CSV of a paper's own sweep along this merge, drawn beside this run's
    t: float | str = "balanced"  # a number, or balanced: both parents keep the same share of their accuracy
    checkpoint: Checkpoint | None = None
    given: str = ""  # a folder in Hugging Face layout or a GGUF file (from the lineage's own folder), or a hub name
    revision: str = ""  # of a hub name, or a folder in the hub's layout: commit (or its first digits), branch or tag
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
    def ends(self) -> tuple[str, str] | tuple[()]:
        """The two parents of a merge that lies at some t between them: of slerp, lerp, or given; () of other models."""
        return self.origins if len(self.origins) == 2 and (not self.merge or self.method in LINES) else ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of all models without which it cannot be made."""
        return (*self.origins, *([self.checkpoint.of] if self.checkpoint else []),
                *([self.perturbed.like] if self.perturbed and self.perturbed.like else []),
                *([self.options.base] if self.options and self.options.base else []))


@table
class Evaluation:
    """Held-out text for losses and accuracies."""

    tokens: int  # per domain, at most
    ngram: int  # order of the n-gram baseline's models


@table
class Merge:
    """The sweep along a merge."""

    points: int  # values of t in [0, 1], both ends included


@table
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
    text: str = "common"  # common: all domains in equal parts; own: what the model reads; or what a model so named does


@table
class Comparison:
    """The common text on which features of all models are compared, and how."""

    tokens: int  # per domain
    min_fires: int  # a feature is live if it fires on at least so many of these tokens
    tau: float  # threshold on Pearson's r at which a feature persists
    bootstrap: int  # resamples of documents
    seed: int


@table
class Controls:
    """The variants of notebook 09; every one trains SAEs on both ends of the first edge."""

    tokens: int  # activations each of their SAEs sees
    kinds: tuple[str, ...]
    expansions: tuple[int, ...]  # dictionary sizes, as multiples of the MLP's width
    lengths: tuple[float, ...]  # training lengths, as multiples of `tokens`


@table
class Studies:
    """What `make studies` trains anew: children at other doses, and every language model from other seeds."""

    doses: tuple[float, ...]  # learning rates of a child, as multiples of its own
    seeds: tuple[int, ...]  # of a child's training, each added to its own
    replicates: int  # language-model seeds, the lineage's own included
    checkpoints: tuple[int, ...]  # steps of the first root's training at which it is kept
    tune_tokens: int  # of every fine-tuning from a checkpoint
    search_tokens: int  # per domain, that a search for a merge ranks models by; it is tested on twice as many
    search_budget: int  # of a search: how many models it may rank
