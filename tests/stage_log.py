"""What a run asks the store for while it runs: the line that asks, the builder, and every function that making it ran."""

import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import torch

import unifeat
from unifeat.support import code, store
from unifeat.support.stages import Stages

PACKAGE = Path(unifeat.__file__).parent


@dataclass
class Stage:
    """The stages that one line asks for: `builders` are the functions that their key is made of, `ran` all that ran."""

    kinds: set[str] = field(default_factory=set)
    builders: set = field(default_factory=set)
    ran: set = field(default_factory=set)  # code objects of the package


class Log:
    """Every stage that is asked for within, by the line that asks: {(module's path in the package, line): Stage}."""

    def __init__(self):
        self.stages: dict[tuple[str, int], Stage] = {}
        self._open, self._hashed, self._seen = [], {}, {}

    def __enter__(self):
        self._make, self._version = store.make, code.version
        store.make, code.version = self.make, self.version
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)  # so that pieces of work come one after another
        return self

    def __exit__(self, *_):
        store.make, code.version = self._make, self._version
        torch.set_num_threads(self._threads)

    def version(self, *builders):
        found = self._version(*builders)
        self._hashed[threading.get_ident()] = found, builders
        return found

    def make(self, root, stage, build, **options):
        frame = sys._getframe(1)
        if frame.f_code is Stages.stage.__code__:
            frame = frame.f_back
        at = Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix(), frame.f_lineno
        one = self.stages.setdefault(at, Stage())
        one.kinds.add(stage)
        found, builders = self._hashed[threading.get_ident()]
        assert found == options["code"], f"{stage}: its key is made of other code"
        one.builders |= {builder.__code__ for builder in builders}

        def built(folder):
            self._open.append(one)
            before = sys.getprofile()
            sys.setprofile(self._note)
            threading.setprofile(self._note)
            try:
                build(folder)
            finally:
                sys.setprofile(before)
                self._open.pop()
                if not self._open:
                    threading.setprofile(None)

        return self._make(root, stage, built, **options)

    def _note(self, frame, event, _):
        if event == "call" and self._open:
            ran = frame.f_code
            ours = self._seen.get(ran)
            if ours is None:
                ours = self._seen[ran] = ran.co_filename.startswith(f"{PACKAGE}/")
            if ours:
                self._open[-1].ran.add(ran)
