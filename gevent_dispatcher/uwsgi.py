"""uWSGI: nothing has to be called, and this module says why, and what to start it with.

Under `uwsgi --gevent` Python's own exit handlers never run. uWSGI calls the one function that it finds in
`uwsgi.atexit`; the first event of a worker puts ours there, and ours calls the one that was there before. An
application that sets `uwsgi.atexit` itself after that calls `at_exit()` from its function:

    import uwsgi
    from gevent_dispatcher.uwsgi import at_exit

    def my_exit():
        at_exit()
        ...

    uwsgi.atexit = my_exit

Start uWSGI with `--gevent-early-monkey-patch`, or patch at the top of the application: `--gevent-monkey-patch` patches
after the application was loaded, and what it imported before stays unpatched.
"""

from __future__ import annotations

from gevent_dispatcher import _process

__all__ = ["at_exit"]


def at_exit() -> None:
    """Send what this worker still has, within close_timeout; never raises."""
    _process.drain_all()
