"""The two explainers of a run: `lexical`, offline, and `llm`, a language model behind an endpoint."""

import os

import numpy as np
import pandas as pd
from scipy import sparse

from unifeat import corpora, explanations, interp, llm, prompts
from unifeat.explanations import WINDOW
from unifeat.profiles import MODELS
from unifeat.stages import Run

EXPLAINING = dict(temperature=0, max_tokens=60)  # options of the two kinds of request
SIMULATING = dict(temperature=0, max_tokens=8 * WINDOW, logprobs=True, top_logprobs=10)


def explained(run: Run, explainer: str = "lexical") -> dict[str, pd.DataFrame]:
    """Frames for `grouped` by an explainer, lexical or llm; EXPLAINER in the environment wins.

    Raises:
        LlmError: there is no such explainer, or the endpoint does not answer.
    """
    explainer = os.environ.get("EXPLAINER") or explainer
    if explainer not in ("lexical", "llm"):
        raise llm.LlmError(f"There is no explainer {explainer!r}; EXPLAINER is lexical or llm.")
    frames = {name: explanations.lexical(run, name) for name in ("lua", "base", "neurons", "random")}
    return frames if explainer == "lexical" else asked(run, frames, llm.settings())


def asked(run: Run, frames: dict, config: llm.Settings, count: int = 0) -> dict[str, pd.DataFrame]:
    """The same frames with explanations and scores by the model behind `config`, for at most `count` features a group.

    count: 0 = `explanations.sample`. Answers are cached under the store, in llm/, whatever becomes of the run.
    """
    count, wanted = count or explanations.sample(), {name: set() for name in frames}
    for model, chosen in explanations.members(run, count).values():
        wanted[model] |= set(chosen.tolist())
    for name in frames.keys() - MODELS:
        wanted[name] = set(explanations.some(frames[name]["feature"], count, run.profile.probe.seed).tolist())
    jobs = {name: _jobs(run, name, frames[name][frames[name]["feature"].isin(wanted[name])]) for name in frames}
    cache = run.root / "llm"
    llm.announce([cost for job in jobs.values() for cost in _costs(job, config, cache)], config)
    return {name: _asked(job, config, cache, run.profile.probe.seed if name == "lua" else None)
            for name, job in jobs.items()}


def _jobs(run, name, frame) -> dict:
    """What is to be asked about the features of `frame`: prompts for explanations, and held-out windows."""
    f = sparse.csc_matrix(explanations.activations(run, name))[:, frame["feature"].to_numpy()]
    probe, window, rng = run.probe, explanations.windows(run), np.random.default_rng(run.profile.probe.seed)
    learning = interp.halves(probe["document"], probe["domain"])
    words = [prompts.plain(corpora.token_text(run.corpus.tokenizer, i)) for i in
             probe["blocks"][probe["block"], probe["position"]]]
    shown = [_contexts(f[:, j], learning, window, 8, 0, rng) for j in range(f.shape[1])]
    held = [_contexts(f[:, j], ~learning, window, 4, 4, rng) for j in range(f.shape[1])]
    return dict(frame=frame, explain=[prompts.explain([([words[i] for i in rows], v) for rows, v in one])
                                      for one in shown],
                held=[[([words[i] for i in rows], v) for rows, v in one] for one in held])


def _costs(job, config, cache) -> list[dict]:
    """Estimates of both steps; a simulation's explanation is not known yet unless it is in the cache."""
    texts = [prompts.read_explanation(reply) if reply else "x" * 240 for reply in
             (llm.lookup(prompt, EXPLAINING, config, cache) for prompt in job["explain"])]
    simulate = [prompts.simulate(text, words) for text, one in zip(texts, job["held"], strict=True) if text
                for words, _ in one]
    return [llm.estimate(job["explain"], EXPLAINING, config, cache),
            llm.estimate(simulate, SIMULATING, config, cache)]


def _asked(job, config, cache, seed) -> pd.DataFrame:
    texts = [prompts.read_explanation(reply) for reply in
             llm.ask(job["explain"], config, cache, announced=True, **EXPLAINING)]
    found = _simulated(texts, job["held"], config, cache)
    if seed is not None:
        other = [texts[j] for j in explanations.derangement(len(texts), seed)]
        found |= {f"{key}_shuffled": value for key, value in _simulated(other, job["held"], config, cache).items()}
    return job["frame"].assign(explainer=config.model, explanation=texts, **found)


def _simulated(texts, held, config, cache) -> dict[str, np.ndarray]:
    """Both scores from simulations of held-out windows; a refused or unreadable one gives NaN.

    A window is said to be active where a simulated value is at least 0.5 on the scale of 0 to 9.
    """
    at = [(j, k) for j, text in enumerate(texts) if text for k in range(len(held[j]))]
    replies = llm.ask([prompts.simulate(texts[j], held[j][k][0]) for j, k in at], config, cache, announced=True,
                      **SIMULATING)
    said = {(j, k): prompts.read_simulation(reply, len(held[j][k][0]))
            for (j, k), reply in zip(at, replies, strict=True)}
    simulation, detection = np.full(len(texts), np.nan), np.full(len(texts), np.nan)
    for j, contexts in enumerate(held):
        parts = [said.get((j, k)) for k in range(len(contexts))]
        if parts and all(part is not None for part in parts):
            p, true = np.concatenate(parts)[:, None], np.concatenate([v for _, v in contexts])[:, None]
            window = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
            simulation[j] = interp.simulation(true, p)[0]
            detection[j] = interp.detection(sparse.csr_matrix(true), sparse.csr_matrix(p >= 0.5), window)[0]
    return dict(simulation=simulation, detection=detection)


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
