"""One lock for the few things that two threads must never do at the same time."""

import threading

# transformers takes seconds to import, so it is imported where it is used, and resolves its names only then: two
# threads at that at once get an ImportError. It also swaps global functions while it loads a model. And two threads in
# ast.parse at once disturb each other (see code._tree).
LOCK = threading.RLock()
