"""A local stand-in for the Optimizely Event API: it answers as the API does, and tells what it was given.

For development, tests and demonstrations. It keeps everything in memory, knows no passwords, and so listens on this
machine alone.
"""

from __future__ import annotations

from gevent_dispatcher.collector._server import Collector

__all__ = ["Collector"]
