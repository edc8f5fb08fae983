"""The Optimizely SDK's side: a client without anything in it that a fork could end or double.

The SDK's own BatchEventProcessor starts a thread when the client is made. It dies in a fork, so a client made before
gunicorn's `--preload` forks tracks into a queue that nobody reads. The processor here has nothing that could die; the
polling for the datafile and the queue of ODP events belong to one process each.
"""

from __future__ import annotations

try:
    import optimizely.event.event_processor
    import optimizely.optimizely  # noqa: F401  # without it, the rooms below could only say that some module is missing
except ImportError as error:
    raise ImportError(
        "gevent_dispatcher.sdk needs the Optimizely SDK, 3.10 or newer: pip install 'gevent-dispatcher[sdk]'"
    ) from error

from gevent_dispatcher.sdk._client import create_client
from gevent_dispatcher.sdk._polling import GeventAuthDatafilePollingConfigManager, GeventPollingConfigManager
from gevent_dispatcher.sdk._processor import GeventEventProcessor

__all__ = [
    "GeventAuthDatafilePollingConfigManager",
    "GeventEventProcessor",
    "GeventPollingConfigManager",
    "create_client",
]
