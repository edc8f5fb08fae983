"""`doctor`: what will hurt an application, as a command."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gevent_dispatcher.commands._options import add_command
from gevent_dispatcher.doctor import _command

if TYPE_CHECKING:
    from gevent_dispatcher.commands._options import Commands

_DESCRIPTION = """\
Load an application as gunicorn does, and say what will hurt it in a gevent worker, each finding with its cure:
what was imported before it was patched, threads of the SDK that a fork ends, too little time to shut down.
Write what you write after `gunicorn`; without a worker class it is gevent. Nothing listens.

  python -m gevent_dispatcher doctor shop:app -c gunicorn.conf.py --preload
  python -m gevent_dispatcher doctor --json "shop:create_app()"

It ends with 0 when nothing, or only information, was found, 1 with warnings, 2 with errors, and 3 when the
application could not be loaded.
"""


def add(commands: Commands) -> None:
    """Add the command to a parser; what it does not know is gunicorn's."""
    command = add_command(
        commands,
        "doctor",
        "what will hurt an application under gunicorn's gevent worker, and the cure",
        _DESCRIPTION,
        usage="%(prog)s [-h] [--json] APP [OPTION OF GUNICORN ...]",
    )
    command.add_argument("--json", action="store_true", help="print a list of objects: code, level, what, cure")
    command.set_defaults(run=_run, takes_rest=True)


def _run(options: argparse.Namespace) -> int:
    # The application is loaded in a process of its own: this one is patched.
    return _command.run(options.rest, options.json)
