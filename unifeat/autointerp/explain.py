"""The two explainers of a run: `lexical`, offline, and `llm`, a language model behind an endpoint."""

import os

import numpy as np
import pandas as pd
from scipy import sparse

from unifeat.autointerp import client, groups, prompts, scores
from unifeat.autointerp.groups import WINDOW
from unifeat.lineage.run import Run
from unifeat.matching import token_features
from unifeat.text import bpe

EXPLAINING = dict(temperature=0, max_tokens=60)  # options of the three kinds of request
SIMULATING = dict(temperature=0, max_tokens=8 * WINDOW, logprobs=True, top_logprobs=10)
DETECTING = dict(temperature=0, max_tokens=40)
EXCERPTS = 5  # of a request for detection, as published
DETECTED = 10  # held-out windows where the feature fires, and as many where it does not


def explained(run: Run, explainer: str = "lexical") -> dict[str, pd.DataFrame]:
    """Frames for `grouped` by an explainer, lexical or llm; EXPLAINER in the environment wins.

    Raises:
        LlmError: there is no such explainer, or the endpoint does not answer.
    """
    explainer = os.environ.get("EXPLAINER") or explainer
    if explainer not in ("lexical", "llm"):
        raise client.LlmError(f"There is no explainer {explainer!r}; EXPLAINER is lexical or llm.")
    name, parent, _ = groups.focus(run)
    frames = {key: groups.lexical(run, key) for key in filter(None, (name, parent, "neurons", "random"))}
    return frames if explainer == "lexical" else asked(run, frames, client.settings())


def asked(run: Run, frames: dict, config: client.Settings, count: int = 0) -> dict[str, pd.DataFrame]:
    """The same frames with explanations and scores by the model behind `config`, for at most `count` features a group.

    count: 0 = `groups.sample`. Answers are cached under the store, in llm/, whatever becomes of the run.
    """
    count, wanted = count or groups.sample(), {name: set() for name in frames}
    for model, chosen in groups.members(run, count).values():
        wanted[model] |= set(chosen.tolist())
    for name in frames.keys() - set(run.lineage.names):
        wanted[name] = set(groups.some(frames[name]["feature"], count, run.lineage.comparison.seed).tolist())
    jobs = {name: _jobs(run, name, frames[name][frames[name]["feature"].isin(wanted[name])]) for name in frames}
    cache = run.root / "llm"
    client.announce([cost for job in jobs.values() for cost in _costs(job, config, cache)], config)
    found = {name: _asked(job, config, cache) for name, job in jobs.items()}
    texts, simulation, detection = (pd.concat([frame[column] for frame in found.values()]) for column in
                                    ("explanation", "simulation", "detection"))
    print(f"{config.model}: of {len(texts)} features {sum(texts != '')} are explained, {simulation.count()} have a "
          f"simulation score and {detection.count()} a detection score; other answers were refused or unreadable.")
    return found


def _jobs(run, name, frame) -> dict:
    """What is to be asked about the features of `frame`: prompts for explanations, and held-out windows.

    other: whose explanation stands in for each feature's own in the shuffled control, of the model in `groups.focus`
    only.
    """
    f = sparse.csc_matrix(groups.activations(run, name))[:, frame["feature"].to_numpy()]
    text, window, rng = run.comparison_text, groups.windows(run), np.random.default_rng(run.lineage.comparison.seed)
    learning = token_features.halves(text["document"], text["domain"])
    words = [prompts.plain(bpe.token_text(run.corpus.tokenizer, i)) for i in
             text["blocks"][text["block"], text["position"]]]
    shown = [_contexts(f[:, j], learning, window, 8, 0, rng) for j in range(f.shape[1])]
    held = [_contexts(f[:, j], ~learning, window, 4, 4, rng) for j in range(f.shape[1])]
    mixed = [_contexts(f[:, j], ~learning, window, DETECTED, DETECTED, rng) for j in range(f.shape[1])]
    mixed = [[one[k] for k in rng.permutation(len(one))] for one in mixed]  # the order must not give the answer away
    explain, held, mixed = ([[([words[i] for i in rows], v) for rows, v in one] for one in part]
                            for part in (shown, held, mixed))
    other = groups.derangement(len(frame), run.lineage.comparison.seed) if name == groups.focus(run)[0] else None
    return dict(frame=frame, other=other, explain=[prompts.explain(one, _domains(run)) for one in explain],
                simulate=held,
                detect=[[one[k:k + EXCERPTS] for k in range(0, len(one), EXCERPTS)] for one in mixed])


def _domains(run: Run) -> str:
    """The lineage's domains in words."""
    labels = [run.theme.domain(name).label for name in run.lineage.domains]
    return " and ".join(filter(None, (", ".join(labels[:-1]), labels[-1])))


def _simulations(texts, job) -> list[list]:
    """Per feature, the prompts of its simulation; none where there is no explanation."""
    return [[prompts.simulate(text, words) for words, _ in one] if text else []
            for text, one in zip(texts, job["simulate"], strict=True)]


def _detections(texts, job) -> list[list]:
    return [[prompts.detect(text, [words for words, _ in part]) for part in one] if text else []
            for text, one in zip(texts, job["detect"], strict=True)]


def _costs(job, config, cache) -> list[dict]:
    """Estimates of the three steps; an explanation to be scored is not known yet unless it is in the cache."""
    texts = [prompts.read_explanation(reply) if reply else "x" * 240 for reply in
             (client.lookup(prompt, EXPLAINING, config, cache) for prompt in job["explain"])]
    told = [texts] if job["other"] is None else [texts, [texts[j] for j in job["other"]]]
    return [client.estimate(job["explain"], EXPLAINING, config, cache),
            *(client.estimate(sum(_simulations(one, job), []), SIMULATING, config, cache) for one in told),
            *(client.estimate(sum(_detections(one, job), []), DETECTING, config, cache) for one in told)]


def _asked(job, config, cache) -> pd.DataFrame:
    texts = [prompts.read_explanation(reply) for reply in
             client.ask(job["explain"], config, cache, announced=True, **EXPLAINING)]
    found = _scores(texts, job, config, cache)
    if job["other"] is not None:
        other = _scores([texts[j] for j in job["other"]], job, config, cache)
        found |= {f"{key}_shuffled": value for key, value in other.items()}
    return job["frame"].assign(explainer=config.model, explanation=texts, **found)


def _scores(texts, job, config, cache) -> dict[str, np.ndarray]:
    """Simulation and detection scores (features,) on held-out windows; NaN where an answer is refused or unreadable."""
    simulation, detection = np.full(len(texts), np.nan), np.full(len(texts), np.nan)
    for j, replies in enumerate(_replies(_simulations(texts, job), config, cache, SIMULATING)):
        contexts = job["simulate"][j]
        said = [prompts.read_simulation(*one) for one in zip(replies, (len(v) for _, v in contexts), strict=False)]
        if said and all(part is not None for part in said):
            true = np.concatenate([v for _, v in contexts])[:, None]
            simulation[j] = scores.simulation(true, np.concatenate(said)[:, None])[0]
    for j, replies in enumerate(_replies(_detections(texts, job), config, cache, DETECTING)):
        said = [prompts.read_detection(*one) for one in zip(replies, map(len, job["detect"][j]), strict=False)]
        if said and all(part is not None for part in said):
            true = np.array([[v.max()] for part in job["detect"][j] for _, v in part])
            detection[j] = scores.detection(true, np.concatenate(said)[:, None], np.arange(len(true)))[0]
    return dict(simulation=simulation, detection=detection)


def _replies(asked: list[list], config, cache, options) -> list[list]:
    """Replies to the prompts of each feature, all asked at once."""
    replies = iter(client.ask(sum(asked, []), config, cache, announced=True, **options))
    return [[next(replies) for _ in one] for one in asked]


def _contexts(column, half, window, strong: int, other: int, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """Windows of one half as (token rows, activations): `strong` by quantiles of their maximum, `other` at random."""
    rows = np.flatnonzero(half)
    values = np.asarray(column[rows].todense()).ravel()
    names, index = np.unique(window[rows], return_inverse=True)
    peaks = np.zeros(len(names))
    np.maximum.at(peaks, index, values)
    firing = np.flatnonzero(peaks > 0)
    chosen = firing[prompts.quantile_rows(peaks[firing], strong)] if len(firing) else firing
    silent = rng.permutation(np.flatnonzero(peaks == 0))[:other]
    return [(rows[index == one], values[index == one]) for one in (*chosen, *silent)]
