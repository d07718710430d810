"""What must be true of a lineage that its types do not say: its shape first, then ranges."""

import dataclasses
import difflib
import re

from unifeat.lineage import published
from unifeat.lineage.complaints import shown
from unifeat.lineage.lineage import Lineage
from unifeat.lineage.settings import (
    CHANGES,
    KINDS,
    LINES,
    METHODS,
    READS,
    SOURCES,
    WAYS,
    LineageError,
    Member,
    Merging,
    Sae,
)
from unifeat.merging.evolver import RULES
from unifeat.text import files

# Words of the tables, as is r_ before a model's name, and "balanced" among domains.
TAKEN = ("ngram", "neurons", "random", "untrained", "both", "several", "new", "neither", "twin", "fires")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
SEED = "0 or more"
COLOR = re.compile(r"(#[0-9A-Fa-f]{6})?")


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
        if pair[0] == pair[1]:
            raise LineageError(f"{p.name}.compare pairs {pair[0]!r} with itself; name two (SAEs of one model are "
                               "compared anyway, as its ceiling).")
    _ranges(p, [*_shared(p), *_of_text(p), *_of_models(p)])
    published.check(p)


def named(kind: str, name: str, where: str) -> None:
    """Refuse a name that is a word of the tables or could not name a file."""
    taken = name in TAKEN or name.startswith("r_") or (kind, name) == ("domain", "balanced")
    if taken or not NAME.fullmatch(name) or ".." in name or len(name) > 40:
        why = "is taken by the tables" if taken else "cannot name files and columns"
        raise LineageError(f"The {kind} name {shown(name)} of {where} {why}; use up to 40 letters, digits, '_', '-' "
                           "and '.', and give the name to be shown as its label.")


def _known(p: Lineage, where: str, name: str) -> None:
    if name not in p.models:
        near = difflib.get_close_matches(name, p.models, 1)
        raise LineageError(f"{where} names the model {shown(name)}, which the lineage does not have"
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
    of = p.models[one.checkpoint.of].training if one.checkpoint else None
    like = one.perturbed.like if one.perturbed else ""
    rules = [
        (way not in ("finetune", "quantized", "perturbed") or one.parent, f"{way} needs a parent"),
        (way not in ("train", "checkpoint", "untrained", "merge") or not one.parent, f"{way} takes no parent"),
        (not one.parents or way == "given" and not one.parent, "parents is for given models that have no parent"),
        (not one.parents or len(set(one.parents)) == len(one.parents) == 2, "parents must name two different models"),
        (one.method in METHODS, f"method must be one of {', '.join(METHODS)}, not {shown(one.method)}"),
        (way != "merge" or len(set(one.merge)) == len(one.merge) >= 2,
         f"merge needs two different models or more, not {shown(list(one.merge))}"),
        (way != "merge" or one.method not in LINES or len(one.merge) == 2,
         f"{one.method} merges two models, not {len(one.merge)}; linear merges more"),
        (not one.options or way == "merge" and one.method not in LINES,
         f"options are for merges by {', '.join(METHODS[len(LINES):])}"),
        (way != "merge" or one.method not in CHANGES or p.base(name),
         "its parents have no one parent in common; name one as options.base"),
        *(_options(p, one) if one.merge and one.method not in LINES else ()),
        (one.t == "balanced" if isinstance(one.t, str) else 0 <= one.t <= 1,
         f"t must be balanced or a number from 0 to 1, not {shown(one.t)}"),
        (one.published_t is None or 0 <= one.published_t <= 1, f"published_t must be 0 to 1, not {one.published_t}"),
        (not one.published_sweep or one.ends, "published_sweep is for a merge of two models"),
        (not one.checkpoint or of, "checkpoint needs a model that is trained here"),
        (not of or 0 <= one.checkpoint.step <= of.tokens // max(1, of.batch * p.corpora.context),
         "checkpoint.step must be a step of that training, from 0 to its last"),
        (not one.quantized or 2 <= one.quantized <= 16, f"quantized must be 2 to 16 bits, not {shown(one.quantized)}"),
        (not one.perturbed or bool(like) != (one.perturbed.share > 0),
         "perturbed needs either like (a model) or share (above 0)"),
        (not like or one.parent in p.models[like].origins, "perturbed.like must be a child of the same parent"),
    ]
    for fine, problem in rules:
        if not fine:
            raise LineageError(f"{where}: {problem}; correct it in the lineage.")
    for domain in (*one.text, *(one.training.text if one.training else ())):
        if domain not in p.text:
            near = difflib.get_close_matches(domain, p.text, 1)
            raise LineageError(f"{where} reads the domain {shown(domain)}, which has no text"
                               + (f"; did you mean {near[0]!r}?" if near else f"; [text] has {', '.join(p.text)}."))


def _options(p: Lineage, one: Member):
    """Rules of the options of a merge: (whether it is fine, the problem)."""
    o = one.options or Merging()
    least = 3 if o.rule == "paper" else 2
    return [
        (not o.base or o.base not in one.merge, f"options.base {shown(o.base)} is one of the models to merge"),
        (not o.weights or len(o.weights) == len(one.merge) and abs(sum(o.weights)) > 1e-9,
         "options.weights must have one number for each model, and not add up to 0"),
        (0 < o.density <= 1, f"options.density must be above 0, at most 1, not {o.density}"),
        (o.tokens >= p.corpora.context, f"options.tokens must be one block ({p.corpora.context}) at least"),
        (o.rule in RULES, f"options.rule must be one of {', '.join(RULES)}, not {shown(o.rule)}"),
        (0 <= o.f <= 1 and 0 <= o.cr <= 1, "options.f and options.cr must be from 0 to 1"),
        (o.generations >= 1, "options.generations must be at least 1"),
        (o.seed >= 0, "options.seed must be 0 or more"),
        (one.method != "evolver" or len(one.merge) >= least,
         f"evolver by the {o.rule} rule needs {least} models or more"),
    ]


def _acyclic(p: Lineage) -> None:
    def walk(name, way):
        if name in way:
            circle = " → ".join((*way[way.index(name):], name))
            raise LineageError(f"The parents of {p.name} go in a circle ({circle}); a model cannot be its own "
                               "ancestor.")
        for parent in p.models[name].needs:
            walk(parent, (*way, name))

    for name in p.models:
        walk(name, ())


def _shared(p: Lineage):
    """Ranges of what all models share: (where it stands, whether it is fine, what it must be)."""
    c, m, e, s, t, o, u = p.corpora, p.model, p.evaluation, p.sae, p.comparison, p.controls, p.studies
    return [
        (("corpora", "source"), c.source in SOURCES, f"one of {', '.join(SOURCES)}"),
        (("corpora", "vocab"), 257 <= c.vocab <= 2**31 - 1, "at least 257 (256 bytes and one special token)"),
        (("corpora", "context"), c.context >= 2, "at least 2"),
        (("corpora", "max_bytes"), c.max_bytes >= 0, "0 (all) or positive"),
        (("corpora", "validation_share"), 0 < c.validation_share < 1, "between 0 and 1"),
        (("corpora", "tokenizer_bytes"), c.tokenizer_bytes > 0, "positive"),
        (("corpora", "seed"), c.seed >= 0, SEED),
        (("model", "layers"), m.layers >= 1, "at least 1"),
        (("model", "d_mlp"), m.d_mlp >= 1, "at least 1"),
        (("model", "heads"), m.heads > 0 and m.d_model > 0 and m.d_model % m.heads == 0, "a divisor of model.d_model"),
        (("model", "kv_heads"), m.kv_heads > 0 and m.heads % m.kv_heads == 0, "a divisor of model.heads"),
        (("model", "seed"), m.seed >= 0, SEED),
        (("evaluation", "tokens"), e.tokens > 0, "positive"),
        (("evaluation", "ngram"), e.ngram >= 2, "at least 2"),
        (("merge", "points"), p.merge.points >= 2, "at least 2 (both ends)"),
        *_of_saes(p, "sae", s),
        *(_of_saes(p, "published", p.published) if p.published else ()),
        (("comparison", "min_fires"), t.min_fires >= 2, "at least 2"),
        (("comparison", "tokens"), t.tokens >= t.min_fires,
         "at least comparison.min_fires, or no feature can be live"),
        (("comparison", "tau"), 0 < t.tau <= 1, "in (0, 1]"),
        (("comparison", "bootstrap"), t.bootstrap >= 1, "at least 1"),
        (("comparison", "seed"), t.seed >= 0, SEED),
        (("controls", "tokens"), o.tokens * min(o.lengths, default=0) >= s.batch,
         "at least one batch (sae.batch) at the shortest of controls.lengths"),
        (("controls", "kinds"), set(o.kinds) <= set(KINDS), f"among {', '.join(KINDS)}"),
        (("controls", "expansions"), min(o.expansions, default=0) * m.d_mlp >= s.k,
         "wide enough for sae.k active latents"),
        (("studies", "doses"), u.doses and min(u.doses) > 0 and len(set(u.doses)) == len(u.doses),
         "positive, at least one, each once"),
        (("studies", "seeds"), u.seeds and min(u.seeds) >= 0 and len(set(u.seeds)) == len(u.seeds),
         "0 or more, at least one, each once"),
        (("studies", "replicates"), u.replicates >= 1, "at least 1"),
        (("studies", "checkpoints"), list(u.checkpoints) == sorted({max(0, one) for one in u.checkpoints}),
         "steps of 0 or more, in their order, each once"),
        (("studies", "tune_tokens"), u.tune_tokens > 0, "positive"),
        (("studies", "search_tokens"), u.search_tokens >= p.corpora.context, "at least one block (corpora.context)"),
        (("studies", "search_budget"), u.search_budget >= 8, "at least 8"),
    ]


def _of_saes(p: Lineage, where: str, s: Sae):
    """What must be true of the SAEs' settings in the table `where`, as in `_shared`."""
    return [
        ((where, "kind"), s.kind in KINDS, f"one of {', '.join(KINDS)}"),
        ((where, "k"), 0 < s.k <= s.width, f"between 1 and {where}.width"),
        ((where, "k_first"), s.k_first >= s.k, "at least its k"),
        ((where, "k_anneal"), 0 <= s.k_anneal <= 1, "between 0 and 1"),
        ((where, "seeds"), len(set(s.seeds)) == len(s.seeds) >= 2 and min(s.seeds) >= 0,
         "at least two different seeds of 0 or more, since the ceiling compares SAEs of one model"),
        ((where, "tokens"), s.tokens >= s.batch > 0, "at least one batch"),
        ((where, "lr"), s.lr > 0, "positive"),
        ((where, "decay"), 0 <= s.decay <= 1, "between 0 and 1"),
        ((where, "text"), s.text in (*READS, *p.models), f"{', '.join(READS)} or the name of a model"),
    ]


def _of_text(p: Lineage):
    """What must be true of each domain, as in `_shared`."""
    for name, one in p.text.items():
        source, at = one.source or p.corpora.source, ("text", name)
        yield (*at, "source"), one.source in ("", *SOURCES), f"one of {', '.join(SOURCES)}"
        yield (*at, "embedded"), source != "embedded" or one.embedded, (
            "the name of a set in embedded.toml when the source is embedded")
        yield (*at, "hub"), source != "hub" or one.hub, "a data set when the source is hub"
        yield (*at, "path"), source != "files" or one.path or p.corpora.folder, (
            "a folder or file when the source is files")
        yield (*at, "language"), one.language in ("", *files.EXTENSIONS), "python, lua or empty"
        yield from _drawn(at, one)


def _of_models(p: Lineage):
    """What must be true of each model, as in `_shared`."""
    for name, one in p.models.items():
        yield from _drawn(("models", name), one)
        for way in ("untrained", "perturbed"):
            if seeded := getattr(one, way):
                yield ("models", name, way, "seed"), seeded.seed >= 0, SEED
        if t := one.training:
            at = ("models", name, one.ways[0])
            yield (*at, "text"), t.text and len(set(t.text)) == len(t.text), f"some of {', '.join(p.text)}, each once"
            yield (*at, "weights"), len(t.weights) == len(t.text) and min(t.weights, default=0) > 0, (
                "one positive weight per domain")
            yield (*at, "batch"), t.batch > 0, "at least 1"
            yield (*at, "tokens"), t.tokens >= t.batch * p.corpora.context, "at least one batch"
            yield (*at, "lr"), t.lr > 0, "positive"
            yield (*at, "muon"), t.muon >= 0, "0 (AdamW alone) or positive"
            yield (*at, "evaluations"), t.evaluations >= 2, "at least 2 (before and after)"
            yield (*at, "seed"), t.seed >= 0, SEED


def _drawn(at: tuple, one):
    """How a model or domain is written and drawn."""
    yield (*at, "color"), COLOR.fullmatch(one.color), "six hexadecimal digits, as in #0072B2"
    yield (*at, "label"), one.label.isprintable() and len(one.label) <= 60, "one line of at most 60 characters"


def _ranges(p: Lineage, rules) -> None:
    """The first rule that is broken, or an absurdly large number."""
    for at, fine, want in rules:
        if not fine:
            value = p
            for part in at:
                value = value[part] if isinstance(value, dict) else getattr(value, part)
            raise LineageError(f"{'.'.join((p.name, *at))} must be {want}, not {shown(value)}.")
    big = _outsize(dataclasses.asdict(p), p.name)
    if big:
        raise LineageError(big)


def _outsize(value, where: str) -> str:
    """The sentence for an absurdly large number, "" if there is none."""
    if isinstance(value, dict):
        return next(filter(None, (_outsize(one, f"{where}.{key}") for key, one in value.items())), "")
    if isinstance(value, list | tuple):
        return next(filter(None, (_outsize(one, where) for one in value)), "")
    if type(value) in (int, float) and not abs(value) < 2**63:
        return f"{where} must be a finite number below 2**63, not {shown(value)}."
    return ""
