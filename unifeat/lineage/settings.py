"""Profiles: every number a run depends on, as frozen dataclasses read from `profiles/<name>.toml`.

    >>> load("smoke").model.d_mlp
    128
    >>> load("smoke", **{"sae.k": 4}).sae.k
    4
"""

import dataclasses
import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path

from unifeat.support.errors import UnifeatError

FOLDER = Path(__file__).parent / "profiles"
NAMES = ("smoke", "laptop", "paper")
DOMAINS = ("english", "python", "stories", "lua")
MODELS = ("base", "lua", "stories", "merged")
SOURCES = ("embedded", "hub", "files")
KINDS = ("relu", "topk", "batchtopk")


class ProfileError(UnifeatError):
    """A profile, or an override of one, that cannot be read."""


@dataclass(frozen=True)
class Corpora:
    """Where text comes from and how it becomes tokens."""

    source: str  # embedded | hub | files
    folder: str  # files: one subfolder or file per domain; hub: a local folder in hub layout, "" = the hub itself
    vocab: int  # BPE vocabulary, the special token included
    context: int  # tokens per block
    max_bytes: int  # text kept per domain, 0 = all of it
    validation_share: float  # share of documents held out, chosen by the hash of their text
    tokenizer_bytes: int  # text per domain that the tokenizer is trained on
    seed: int  # order of the training documents


@dataclass(frozen=True)
class Model:
    """A Mistral-architecture language model."""

    layers: int
    d_model: int
    d_mlp: int
    heads: int
    kv_heads: int
    norm_eps: float
    rope_theta: float
    seed: int  # initial weights


@dataclass(frozen=True)
class Training:
    """One language-model training run: AdamW, linear warm-up, cosine decay."""

    domains: tuple[str, ...]  # mixed by blocks, each domain in proportion to `weights`
    weights: tuple[float, ...]
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


@dataclass(frozen=True)
class Evaluation:
    """Held-out text for losses and accuracies."""

    tokens: int  # per domain, at most
    ngram: int  # order of the n-gram baseline


@dataclass(frozen=True)
class Merge:
    """The SLERP sweep."""

    points: int  # values of t in [0, 1], both ends included


@dataclass(frozen=True)
class Sae:
    """Sparse autoencoders on the MLP activations, all seeds of a model on one activation stream."""

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


@dataclass(frozen=True)
class Probe:
    """The common token set on which features of all models are compared."""

    tokens: int  # per domain
    min_fires: int  # a feature is live if it fires on at least so many probe tokens
    tau: float  # threshold on Pearson's r at which a feature persists
    bootstrap: int  # resamples of documents
    seed: int


@dataclass(frozen=True)
class Controls:
    """The variants of notebook 09; every one trains SAEs on the base and on Lua."""

    tokens: int  # activations each of their SAEs sees
    kinds: tuple[str, ...]
    expansions: tuple[int, ...]  # dictionary sizes, as multiples of the MLP's width
    lengths: tuple[float, ...]  # training lengths, as multiples of `tokens`


@dataclass(frozen=True)
class Profile:
    """One run of the whole repository."""

    name: str
    corpora: Corpora
    model: Model
    base: Training
    lua: Training
    stories: Training
    evaluation: Evaluation
    merge: Merge
    sae: Sae
    probe: Probe
    controls: Controls


def choose(name: str, corpora: str = "", hook: str = "") -> Profile:
    """Profile `name` on `corpora`: "" (the profile's own), a source, or a folder that holds the four domains.

    hook: the hook point that the SAEs read, "" for the profile's own.

    Raises:
        ProfileError: as in `load`, or `corpora` is neither a source nor a folder.
    """
    changes = {"sae.hook": hook} if hook else {}
    if not corpora:
        return load(name, **changes)
    if corpora in SOURCES:
        return load(name, **changes, **{"corpora.source": corpora})
    folder = Path(corpora).expanduser().resolve()
    if not folder.is_dir():
        raise ProfileError(f"CORPORA={corpora} is neither a source nor a folder; give one of {', '.join(SOURCES)}, or "
                           "the folder that holds your four domains.")
    return load(name, **changes, **{"corpora.source": "files", "corpora.folder": str(folder)})


def load(name: str, **overrides) -> Profile:
    """Profile `name` (smoke, laptop or paper, or a path to a .toml file), with overrides by dotted key.

    Raises:
        ProfileError: unknown profile, missing or unknown key, wrong type, or a value out of range.
    """
    path = Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise ProfileError(f"Profile {str(name)!r} does not exist; choose one of {', '.join(NAMES)}, "
                           "or give the path of a .toml file with the same keys.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of numbers and lists beyond all measure
        raise ProfileError(f"Profile {path.name} is not valid TOML ({error}); correct that line.") from error
    for key, value in overrides.items():
        section, _, field = key.partition(".")
        if not field or not isinstance(table.get(section), dict) or field not in table[section]:
            raise ProfileError(f"Override {key!r} names no setting of profile {path.stem}; use section.key, "
                               "as in sae.k.")
        table[section][field] = value
    profile = _read(Profile, {"name": path.stem, **table}, path.stem)
    _check(profile)
    return profile


def _read(kind, table, where: str):
    """Dataclass `kind` from a TOML table, every key present, known and of its type."""
    if not isinstance(table, dict):
        raise ProfileError(f"{where} must be a table of settings, not {table!r}.")
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    if unknown := sorted(table.keys() - fields.keys()):
        raise ProfileError(f"{where} has no setting {unknown[0]!r}; it knows {', '.join(fields)}.")
    if missing := [name for name in fields if name not in table]:
        raise ProfileError(f"{where} lacks the setting {missing[0]!r}; add it to the profile.")
    return kind(**{name: _value(type_, table[name], f"{where}.{name}") for name, type_ in fields.items()})


def _value(type_, value, where: str):
    if dataclasses.is_dataclass(type_):
        return _read(type_, value, where)
    if typing.get_origin(type_) is tuple:
        if not isinstance(value, list | tuple):
            raise ProfileError(f"{where} must be a list, not {value!r}.")
        return tuple(_value(typing.get_args(type_)[0], item, where) for item in value)
    if type(value) in (int, float) and not abs(value) < 2**63:
        raise ProfileError(f"{where} must be a finite number below 2**63, not {value!r}.")
    if type_ is float and type(value) is int:
        value = float(value)
    if type(value) is not type_:
        raise ProfileError(f"{where} must be of type {type_.__name__}, not {value!r}.")
    return value


def _check(p: Profile) -> None:
    """Ranges that the types do not say; the first violation is reported."""
    rules = [
        ("corpora.source", p.corpora.source in SOURCES, f"one of {', '.join(SOURCES)}"),
        ("corpora.folder", p.corpora.source != "files" or p.corpora.folder,
         "the folder that holds the four domains when the source is files"),
        ("corpora.vocab", 257 <= p.corpora.vocab <= 2**31 - 1, "at least 257 (256 bytes and one special token)"),
        ("corpora.context", p.corpora.context >= 2, "at least 2"),
        ("corpora.max_bytes", p.corpora.max_bytes >= 0, "0 (all) or positive"),
        ("corpora.validation_share", 0 < p.corpora.validation_share < 1, "between 0 and 1"),
        ("corpora.tokenizer_bytes", p.corpora.tokenizer_bytes > 0, "positive"),
        ("model.layers", p.model.layers >= 1, "at least 1"),
        ("model.heads", p.model.heads > 0 and p.model.d_model % p.model.heads == 0, "a divisor of model.d_model"),
        ("model.kv_heads", p.model.kv_heads > 0 and p.model.heads % p.model.kv_heads == 0,
         "a divisor of model.heads"),
        ("evaluation.tokens", p.evaluation.tokens > 0, "positive"),
        ("evaluation.ngram", p.evaluation.ngram >= 2, "at least 2"),
        ("merge.points", p.merge.points >= 2, "at least 2 (both ends)"),
        ("sae.kind", p.sae.kind in KINDS, f"one of {', '.join(KINDS)}"),
        ("sae.k", 0 < p.sae.k <= p.sae.width, "between 1 and sae.width"),
        ("sae.k_first", p.sae.k_first >= p.sae.k, "at least sae.k"),
        ("sae.k_anneal", 0 <= p.sae.k_anneal <= 1, "between 0 and 1"),
        ("sae.seeds", len(set(p.sae.seeds)) == len(p.sae.seeds) >= 2,
         "at least two different seeds, since the ceiling compares SAEs of one model"),
        ("sae.tokens", p.sae.tokens >= p.sae.batch > 0, "at least one batch"),
        ("sae.decay", 0 <= p.sae.decay <= 1, "between 0 and 1"),
        ("probe.min_fires", p.probe.min_fires >= 2, "at least 2"),
        ("probe.tokens", p.probe.tokens >= p.probe.min_fires,
         "at least probe.min_fires, or no feature can be live"),
        ("probe.tau", 0 < p.probe.tau <= 1, "in (0, 1]"),
        ("controls.tokens", p.controls.tokens * min(p.controls.lengths, default=0) >= p.sae.batch,
         "at least one batch (sae.batch) at the shortest of controls.lengths"),
        ("controls.kinds", set(p.controls.kinds) <= set(KINDS), f"among {', '.join(KINDS)}"),
        ("controls.expansions", min(p.controls.expansions, default=0) * p.model.d_mlp >= p.sae.k,
         "wide enough for sae.k active latents"),
        ("probe.bootstrap", p.probe.bootstrap >= 1, "at least 1"),
    ]
    for stage in ("base", "lua", "stories"):
        t = getattr(p, stage)
        rules += [
            (f"{stage}.domains", t.domains and set(t.domains) <= set(DOMAINS), f"among {', '.join(DOMAINS)}"),
            (f"{stage}.weights", len(t.weights) == len(t.domains) and min(t.weights, default=0) > 0,
             "one positive weight per domain"),
            (f"{stage}.tokens", t.tokens >= t.batch * p.corpora.context > 0, "at least one batch"),
            (f"{stage}.lr", t.lr > 0, "positive"),
            (f"{stage}.evaluations", t.evaluations >= 2, "at least 2 (before and after)"),
        ]
    for key, fine, want in rules:
        if not fine:
            section, field = key.split(".")
            raise ProfileError(f"{p.name}.{key} must be {want}, not {getattr(getattr(p, section), field)!r}.")
