"""What a run asks the store for: the line that asks, the functions in the key, and all that making it ran."""

import ast
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
    """Stages that one line asks for with one set of builders."""

    at: tuple[str, int]  # module's path in the package, line
    builders: tuple  # functions whose code is in the key
    kinds: set[str] = field(default_factory=set)
    ran: set = field(default_factory=set)  # code objects of the package that making it ran


class Log:
    """Notes every stage that is asked for within, and what its making runs."""

    def __init__(self):
        self.stages: dict[tuple, Stage] = {}
        self._making, self._hashed, self._ours = [], {}, {}

    def __enter__(self):
        self._make, self._version, self._threads = store.make, code.version, torch.get_num_threads()
        store.make, code.version = self.make, self.version
        torch.set_num_threads(1)  # pieces of work come one after another, so that it is clear which of them runs
        return self

    def __exit__(self, *_):
        store.make, code.version = self._make, self._version
        torch.set_num_threads(self._threads)

    def version(self, *builders):
        """`code.version`, and what it was asked of."""
        found = self._version(*builders)
        self._hashed[threading.get_ident()] = found, builders
        return found

    def make(self, root, stage, build, **options):
        """`store.make`, with what it runs noted."""
        frame = sys._getframe(1)
        if frame.f_code is Stages.stage.__code__:
            frame = frame.f_back
        found, builders = self._hashed[threading.get_ident()]
        assert found == options["code"], f"the key of {stage} is made of other code than was hashed last"
        at = Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix(), frame.f_lineno
        one = self.stages.setdefault((at, *(each.__code__ for each in builders)), Stage(at, builders))
        one.kinds.add(stage)

        def built(folder):
            before = sys.getprofile()
            self._making.append(one)
            sys.setprofile(self._note)
            threading.setprofile(self._note)
            try:
                build(folder)
            finally:
                sys.setprofile(before)
                self._making.pop()
                if not self._making:
                    threading.setprofile(None)

        return self._make(root, stage, built, **options)

    def _note(self, frame, event, _):
        if event == "call" and self._making:
            ran = frame.f_code
            if ran not in self._ours:
                self._ours[ran] = ran.co_filename.startswith(f"{PACKAGE}/")
            if self._ours[ran]:
                self._making[-1].ran.add(ran)


def asking() -> dict[str, tuple[str, range]]:
    """Every call in the package that asks for a stage: {readable name: (module's path, its lines)}."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name, text = path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            call = ast.unparse(node.func) if isinstance(node, ast.Call) and len(node.args) > 1 else ""
            if call.endswith(".stage") or call == "store.make":
                label = f"{name}: {ast.unparse(node.args[call == 'store.make'])}"
                label += f" ({sum(one.startswith(label) for one in found) + 1})"
                found[label] = name, range(node.lineno, node.end_lineno + 1)
    return found


def changed(text: str, ran) -> str:
    """A module's text with something else done in the function or lambda of which `ran` is the code object."""
    for node in ast.walk(ast.parse(text)):
        first = min([getattr(node, "lineno", 0), *(one.lineno for one in getattr(node, "decorator_list", ()))])
        if first != ran.co_firstlineno:
            continue
        if isinstance(node, ast.Lambda):
            return replaced(text, node.body, lambda body: f"(0, {body})[1]")
        if isinstance(node, ast.FunctionDef) and node.name == ran.co_name:
            last = node.body[-1]
            return replaced(text, last, lambda body, indent=" " * last.col_offset: f"something = 1\n{indent}{body}")
    raise AssertionError(f"{ran.co_qualname if hasattr(ran, 'co_qualname') else ran.co_name} is not in this text")


def replaced(text: str, node, other) -> str:
    """The text with what stands at `node` replaced by other(it)."""
    data, starts = text.encode(), [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    start, end = (starts[line - 1] + column for line, column in
                  ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)))
    return (data[:start] + other(data[start:end].decode()).encode() + data[end:]).decode()
