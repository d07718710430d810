"""Stages: results that are computed once and kept in the store, whatever asks for them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unifeat.support import code, store


@dataclass(frozen=True, eq=False)
class Stages:
    """Results of one lineage in the store under `root`; what it draws goes to `figures`."""

    lineage: object  # settings.Lineage
    root: Path
    figures: Path

    seconds: dict = field(default_factory=dict, repr=False)  # what each stage asked for so far cost when it was made

    def stage(self, name: str, build: Callable[[Path], None], config=None, inputs=(), code_of=(), bar=None,
              tokens: int = 0) -> store.Artefact:
        """The result of the stage `name`: found in the store, or made by build(folder), which writes its files.

        Its key is made of config (JSON-able, or settings), of the inputs' keys (results of other stages), and of the
        code of build's module and of the functions `code_of` with all that these import. bar: a progress bar that
        `build` advances by `tokens`, and that skips what is stored.
        """
        stored = True

        def built(folder):
            nonlocal stored
            stored = False
            self.compute(name, build, folder)

        made = store.make(self.root, name, built, config=config, inputs=inputs, code=code.version(build, *code_of))
        self.seconds[name] = made.seconds
        if stored and bar is not None:
            bar.skip(tokens)
        return made

    def compute(self, name: str, build: Callable[[Path], None], folder: Path) -> None:
        """Called where the store has no result of the stage `name`."""
        build(folder)
