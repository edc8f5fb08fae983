"""The package as it is imported: lazily, and without side effects."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gevent_dispatcher


def python(code: str) -> str:
    """What a fresh, unpatched interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


@pytest.mark.unmeasured("coverage itself imports threading and socket")
def test_importing_the_package_imports_nothing_heavy_and_starts_nothing() -> None:
    heavy = "('gevent', 'urllib3', 'optimizely', 'requests', 'flask', 'ssl', 'socket', 'threading')"
    code = f"import sys, gevent_dispatcher; print([name for name in {heavy} if name in sys.modules])"
    assert python(code) == "[]"


def test_the_dispatcher_is_imported_and_made_without_urllib3_ssl_and_the_sdk() -> None:
    code = """
import gc, sys, threading
from gevent_dispatcher import GeventEventDispatcher
dispatcher = GeventEventDispatcher()
print([name for name in ('urllib3', 'optimizely', 'requests', 'flask', 'ssl', 'gevent.ssl') if name in sys.modules])
from gevent import Greenlet, socket
print(len([each for each in gc.get_objects() if isinstance(each, (Greenlet, socket.socket))]), threading.active_count())
"""
    assert python(code).splitlines() == ["[]", "0 1"]


def test_a_patch_after_the_import_raises_no_warning() -> None:
    code = """
import warnings
warnings.simplefilter('error')
from gevent_dispatcher import GeventEventDispatcher
GeventEventDispatcher()
from gevent import monkey
monkey.patch_all()
print('patched')
"""
    assert python(code) == "patched"


def test_the_public_names_are_there() -> None:
    for name in gevent_dispatcher.__all__:
        assert getattr(gevent_dispatcher, name) is not None
        assert name in dir(gevent_dispatcher)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'gevent_dispatcher' has no attribute 'nonsense'"):
        _ = gevent_dispatcher.nonsense


def test_gunicorns_hooks_do_nothing_in_a_process_that_has_dispatched_nothing() -> None:
    code = """
import sys
from gevent_dispatcher.gunicorn import worker_exit
worker_exit(None, None)
print('gevent' in sys.modules)
"""
    assert python(code) == "False"
