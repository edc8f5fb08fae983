"""The collector's page: a few files of the package, and the header fields that keep the page to itself.

The page shows what anybody may have sent. Should any of that ever be taken for a script, the policy below forbids to
run it, to load anything from elsewhere, and to tell anyone.
"""

from __future__ import annotations

import pkgutil

from gevent_dispatcher.collector._answers import Answer

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FIELDS = (("Content-Security-Policy", _POLICY), ("Referrer-Policy", "no-referrer"))

_SCRIPTS = (
    *("page", "api", "charts", "detail", "dom", "faults", "list", "sentence", "store", "stream", "text", "tree"),
    "welcome",
)

# Every path that is a file, its name in the folder, and its type: no path is ever made into a name.
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
}


def page(path: str) -> Answer:
    """The file at a path of `FILES`, as it is now.

    Raises:
        FileNotFoundError: the package was installed without it.
    """
    name, kind = FILES[path]
    content = pkgutil.get_data("gevent_dispatcher.collector", f"page/{name}")
    if content is None:  # pragma: no cover  # a loader that has no data to give
        raise FileNotFoundError(name)
    return Answer(200, content, kind, fields=_FIELDS)
