"""Pinned commits on the Hugging Face hub."""

import re


def commit(name: str, pin: str, kind: str) -> str:
    """The whole number of the commit `pin` of a repository; kind: model or dataset.

    pin: 40 digits, or the first ones, where no more are known: they are looked up in the repository's history; or a
    branch or tag, such as main or step1000.

    Raises:
        ValueError: it has no such commit. What else the hub's library raises is left to the caller.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    if re.fullmatch("[0-9a-f]{4,39}", pin):
        found = [one.commit_id for one in api.list_repo_commits(name, repo_type=kind) if one.commit_id.startswith(pin)]
        if len(found) != 1:
            raise ValueError(f"its history has {len(found)} commits {pin}...")
        pin = found[0]
    return api.repo_info(name, repo_type=kind, revision=pin, timeout=30).sha
