"""What must be true of a lineage that its types do not say: its shape first, then ranges."""

import dataclasses
import difflib
import re

from unifeat.lineage.settings import KINDS, SOURCES, WAYS, Lineage, LineageError, Member

TAKEN = ("ngram", "neurons", "random", "untrained", "both", "several", "new", "neither", "twin")  # words of the tables
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check(p: Lineage) -> None:
    """Shape of the lineage first, then ranges; the first violation is reported."""
    for kind, names in (("model", p.models), ("domain", p.text)):
        if not names:
            raise LineageError(f"Lineage {p.name} has no {kind}; name at least one under [{kind}s]." if kind == "model"
                               else f"Lineage {p.name} has no text; name at least one domain under [text].")
        for name in names:
            named(kind, name, p.name)
    for name, one in p.models.items():
        _made(p, name, one)
    _acyclic(p)
    for pair in p.compare:
        for name in pair:
            _known(p, f"{p.name}.compare", name)
    _ranges(p)


def named(kind: str, name: str, where: str) -> None:
    if not NAME.fullmatch(name) or ".." in name or name in TAKEN or len(name) > 40:
        why = "is taken by the tables" if name in TAKEN else "cannot name files and columns"
        raise LineageError(f"The {kind} name {name!r} of {where} {why}; use up to 40 letters, digits, '_', '-' and "
                           f"'.', and "
                           "give the name to be shown as its label.")


def _known(p: Lineage, where: str, name: str) -> None:
    if name not in p.models:
        near = difflib.get_close_matches(name, p.models, 1)
        raise LineageError(f"{where} names the model {name!r}, which the lineage does not have"
                           + (f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(p.models)}."))


def _made(p: Lineage, name: str, one: Member) -> None:
    """A model is made in one way, from parents that exist, and its text exists."""
    where = f"{p.name}.models.{name}"
    if len(one.ways) != 1:
        stated = f"in two ways ({one.ways[0]} and {one.ways[1]})" if one.ways else "in no way"
        raise LineageError(f"{where} is made {stated}; state exactly one of {', '.join(WAYS)}.")
    way = one.ways[0]
    for other in one.needs:
        _known(p, where, other)
    rules = [
        (way not in ("finetune", "quantized", "perturbed") or one.parent, f"{way} needs a parent"),
        (way not in ("train", "checkpoint", "untrained", "merge") or not one.parent, f"{way} takes no parent"),
        (not one.parents or way == "given" and not one.parent, "parents is for given models that have no parent"),
        (way != "merge" or len(set(one.merge)) == len(one.merge) == 2, "merge needs two different models"),
        (one.method in ("slerp", "lerp"), f"method must be slerp or lerp, not {one.method!r}"),
        (one.t == "balanced" if isinstance(one.t, str) else 0 <= one.t <= 1,
         f"t must be balanced or a number from 0 to 1, not {one.t!r}"),
        (not one.checkpoint or p.models[one.checkpoint.of].training, "checkpoint needs a model that is trained here"),
        (not one.checkpoint or one.checkpoint.step >= 0, "checkpoint.step must be 0 or more"),
        (not one.quantized or 2 <= one.quantized <= 16, f"quantized must be 2 to 16 bits, not {one.quantized}"),
        (not one.perturbed or bool(one.perturbed.like) != (one.perturbed.share > 0),
         "perturbed needs either like (a model) or share (above 0)"),
        (not one.perturbed or not one.perturbed.like or one.parent in p.models[one.perturbed.like].origins,
         "perturbed.like must be a child of the same parent"),
    ]
    for fine, problem in rules:
        if not fine:
            raise LineageError(f"{where}: {problem}; correct it in the lineage.")
    for domain in (*one.text, *(one.training.text if one.training else ())):
        if domain not in p.text:
            near = difflib.get_close_matches(domain, p.text, 1)
            raise LineageError(f"{where} reads the domain {domain!r}, which has no text"
                               + (f"; did you mean {near[0]!r}?" if near else f"; [text] has {', '.join(p.text)}."))


def _acyclic(p: Lineage) -> None:
    def walk(name, way):
        if name in way:
            circle = " → ".join((*way[way.index(name):], name))
            raise LineageError(f"The parents of {p.name} go in a circle ({circle}); a model cannot be its own "
                               f"ancestor.")
        for parent in p.models[name].needs:
            walk(parent, (*way, name))

    for name in p.models:
        walk(name, ())


def _ranges(p: Lineage) -> None:
    """Ranges that the types do not say."""
    rules = [
        ("corpora.source", p.corpora.source in SOURCES, f"one of {', '.join(SOURCES)}"),
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
        ("comparison.min_fires", p.comparison.min_fires >= 2, "at least 2"),
        ("comparison.tokens", p.comparison.tokens >= p.comparison.min_fires,
         "at least comparison.min_fires, or no feature can be live"),
        ("comparison.tau", 0 < p.comparison.tau <= 1, "in (0, 1]"),
        ("comparison.bootstrap", p.comparison.bootstrap >= 1, "at least 1"),
        ("controls.tokens", p.controls.tokens * min(p.controls.lengths, default=0) >= p.sae.batch,
         "at least one batch (sae.batch) at the shortest of controls.lengths"),
        ("controls.kinds", set(p.controls.kinds) <= set(KINDS), f"among {', '.join(KINDS)}"),
        ("controls.expansions", min(p.controls.expansions, default=0) * p.model.d_mlp >= p.sae.k,
         "wide enough for sae.k active latents"),
    ]
    for name, one in p.text.items():
        source = one.source or p.corpora.source
        rules += [(f"text.{name}.source", one.source in ("", *SOURCES), f"one of {', '.join(SOURCES)}"),
                  (f"text.{name}.embedded", source != "embedded" or one.embedded,
                   "the name of a set in embedded.toml when the source is embedded"),
                  (f"text.{name}.hub", source != "hub" or one.hub, "a data set when the source is hub"),
                  (f"text.{name}.path", source != "files" or one.path or p.corpora.folder,
                   "a folder or file when the source is files"),
                  (f"text.{name}.language", one.language in ("", "python", "lua"), "python, lua or empty")]
    for name, one in p.models.items():
        if t := one.training:
            where = f"models.{name}.{one.ways[0]}"
            rules += [
                (f"{where}.text", t.text, f"among {', '.join(p.text)}"),
                (f"{where}.weights", len(t.weights) == len(t.text) and min(t.weights, default=0) > 0,
                 "one positive weight per domain"),
                (f"{where}.tokens", t.tokens >= t.batch * p.corpora.context > 0, "at least one batch"),
                (f"{where}.lr", t.lr > 0, "positive"),
                (f"{where}.evaluations", t.evaluations >= 2, "at least 2 (before and after)"),
            ]
    for key, fine, want in rules:
        if not fine:
            value = p
            for part in key.split("."):
                value = value[part] if isinstance(value, dict) else getattr(value, part)
            raise LineageError(f"{p.name}.{key} must be {want}, not {value!r}.")
    big = _outsize(dataclasses.asdict(p), p.name)
    if big:
        raise LineageError(big)


def _outsize(value, where: str) -> str:
    """The sentence on a number beyond all measure, "" if there is none."""
    if isinstance(value, dict):
        return next(filter(None, (_outsize(one, f"{where}.{key}") for key, one in value.items())), "")
    if isinstance(value, list | tuple):
        return next(filter(None, (_outsize(one, where) for one in value)), "")
    if type(value) in (int, float) and not abs(value) < 2**63:
        return f"{where} must be a finite number below 2**63, not {value!r}."
    return ""
