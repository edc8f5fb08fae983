"""Metrics for Prometheus: `instrument(GeventEventDispatcher(...))`, and all that is counted is exported.

In one process the counts are read when they are scraped. In the multiprocess mode of prometheus_client, for servers
with several workers, they are written soon after they have changed and once more at the end of each process, so that
the sums over all workers are right, those that have ended included. `dispatch_event` pays nothing for either.
"""

from __future__ import annotations

try:
    import prometheus_client  # noqa: F401  # without it, the rooms below could only say that some module is missing
except ImportError as error:
    raise ImportError(
        "gevent_dispatcher.prometheus needs prometheus_client: pip install 'gevent-dispatcher[prometheus]'"
    ) from error

from gevent_dispatcher.prometheus._instrument import instrument
from gevent_dispatcher.prometheus._serve import serve

__all__ = ["instrument", "serve"]
