"""Which code made a result: the builder's module and all that it imports from the rooms of the science.

Prose stays out: comments, docstrings, and the import lines themselves. What the settings say is in a key already, and
plots, pages and the machinery change no number.
"""

import ast
import functools
import hashlib
import importlib.util
import sys
import time
from pathlib import Path

from unifeat.support import import_lock

ROOMS = tuple(f"unifeat.{room}." for room in ("lm", "sae", "merging", "matching", "decoding", "text", "lineage",
                                              "studies", "autointerp"))
PLAIN = tuple(f"unifeat.lineage.{name}" for name in  # what they say is in the keys as values
              ("settings", "lineage", "reading", "checks", "complaints"))


def version(*builders) -> str:
    """Hash of the code of `builders` (functions) and of what their modules import, 16 hexadecimal digits."""
    todo = [builder.__module__ for builder in builders]
    own = tuple(f"{name.rpartition('.')[0]}." for name in todo if name.startswith("unifeat."))  # builders' rooms too
    found = {}
    while todo:
        name = todo.pop()
        if name in found or name in PLAIN or (path := _file(name)) is None:
            continue
        found[name], imports = _parsed(path, path.stat().st_mtime_ns)
        todo += [one for one in imports if f"{one}.".startswith((*ROOMS, *own))]
    return hashlib.sha256("".join(sorted(found.values())).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=512)
def _file(name: str) -> Path | None:
    """Where a module's code is; None where the name is no module, such as a function's."""
    module = sys.modules.get(name)
    if module is not None and getattr(module, "__file__", None):
        return Path(module.__file__)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


@functools.lru_cache(maxsize=512)
def _parsed(path: Path, _changed: int) -> tuple[str, tuple[str, ...]]:
    """Hash of a module without prose and imports, and the names it imports; parsed again when its file has changed."""
    text = path.read_text(encoding="utf-8")
    tree = _tree(text)
    stripped = _Stripped()
    tree = stripped.visit(tree)
    ours = sorted(f"{name}={target}" for name, target in stripped.names if target.startswith("unifeat"))
    return hashlib.sha256(f"{ast.dump(tree)}{ours}".encode()).hexdigest(), tuple(stripped.imports)


def _tree(text: str) -> ast.Module:
    """The syntax tree of a module.

    Python 3.11 counts the depth of ast.parse once for all threads (CPython issue 106905). Our threads take turns, but
    np.load parses its header with ast.literal_eval, and one of those in another thread makes ours fail: we try again.
    """
    for left in reversed(range(100)):
        try:
            with import_lock.LOCK:
                return ast.parse(text)
        except SystemError:
            if not left:
                raise
            time.sleep(0.01)


class _Stripped(ast.NodeTransformer):
    """Takes docstrings and import lines out of a module and notes what is imported, and under which name."""

    def __init__(self):
        self.imports, self.names = [], []

    def visit_Import(self, node):
        self.imports += [alias.name for alias in node.names]
        self.names += [(alias.asname or alias.name, alias.name) for alias in node.names]

    def visit_ImportFrom(self, node):
        self.imports.append(node.module or "")
        self.imports += [f"{node.module}.{alias.name}" for alias in node.names]
        self.names += [(alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names]

    def generic_visit(self, node):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            if (body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
                    and isinstance(body[0].value.value, str)):
                node.body = body[1:]
            super().generic_visit(node)
            node.body = node.body or [ast.Pass()]
            return node
        return super().generic_visit(node)
