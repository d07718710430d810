"""The one lock of what is imported late."""

import threading

# transformers takes seconds to import, so it is imported where it is used, and resolves its names only then: two
# threads at that at once get an ImportError. It also swaps global functions while it loads a model.
LOCK = threading.RLock()
