"""What each notebook was last run with and what it wrote, so that a second run repeats only what has changed."""

import json
import os
import subprocess
from pathlib import Path

from unifeat.lineage.lineage import Lineage
from unifeat.support import paths, store
from unifeat.text import sources

CODE = ("unifeat", "requirements.lock")
SETTINGS = ("EXPLAINER", "OPENAI_BASE_URL", "UNIFEAT_LLM_")  # read by the stages, beside lineage and corpora


def commit() -> str:
    """The last commit that changed code or pins, "+" if they differ from it; "unknown" outside git."""
    try:
        def git(*arguments):
            return subprocess.run(["git", *arguments, "--", *CODE], cwd=paths.ROOT, check=True, capture_output=True,
                                  text=True).stdout.strip()

        return git("log", "-1", "--format=%H") + ("+" if git("status", "--porcelain") else "") or "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def code() -> str:
    """Hash of every file of the package and of the pins."""
    files = [path for path in sorted((paths.ROOT / "unifeat").rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    return store.digest([[str(path.relative_to(paths.ROOT)), store.sha256(path)]
                         for path in [*files, paths.ROOT / "requirements.lock"] if path.is_file()])


def state(lineage: Lineage, parameters: dict) -> str:
    """Hash of all that a run's notebooks depend on beside their own cells: lineage, text, code, pins, settings.

    Raises:
        CorpusError: a folder of the user's own text is missing.
    """
    settings = {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}
    return store.digest(lineage, parameters, sources.fingerprint(lineage.text, lineage.corpora), code(), commit(),
                        settings,
                        str(paths.store()))


def notebook(path: Path, common: str) -> str:
    """Hash of one notebook's code cells (outputs left out) and of the `state` common to all."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return store.digest(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"], common)


def write(record: Path, key: str, saved: dict[str, list[str]]) -> None:
    """Note that the notebook with this key wrote `saved`, {figure: files}."""
    files = {file: store.sha256(Path(file)) for group in saved.values() for file in group}
    store.write_text(record, json.dumps(dict(key=key, saved=list(saved), files=files), indent=1) + "\n")


def unchanged(record: Path, key: str) -> tuple[str, ...] | None:
    """The figures that the notebook with this key wrote, if every file of theirs still is as written; else None."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        same = known["key"] == key and all(store.sha256(Path(file)) == value for file, value in known["files"].items())
        return tuple(known["saved"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
