"""What will hurt in this process, each finding with its cure.

In an application that runs, under any server:

    from gevent_dispatcher.doctor import examine

    for finding in examine():
        print(finding.level, finding.code, finding.what, finding.cure)

Before it runs, from the command line, which loads it as gunicorn does: `python -m gevent_dispatcher doctor --help`.

The doctor looks and does not touch: it imports nothing that the application has not imported, calls nothing of its
objects, and changes nothing.
"""

from __future__ import annotations

from gevent_dispatcher.doctor._findings import Finding, judge
from gevent_dispatcher.doctor._inspection import look, look_closely

__all__ = ["Finding", "examine", "own_findings"]


def examine(*, graceful_timeout: float | None = None) -> list[Finding]:
    """Examine this process: its patching, what was imported before it, the SDK's threads, the time to shut down.

    It goes through all objects of the interpreter once, which stops the hub for some tens of milliseconds, and for
    some hundreds after gc.freeze().

    Args:
        graceful_timeout: seconds that the server gives a worker to end; None is gunicorn's own setting, if it is found.

    Returns:
        What was found, errors first.
    """
    return judge(look_closely(graceful_timeout))


def own_findings() -> list[Finding]:
    """The few findings that a dispatcher's own process can tell at no cost, without going through objects and modules.

    Returns:
        What was found, errors first.
    """
    return judge(look())
