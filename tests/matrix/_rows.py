"""The table: which versions are put together, and what no version can be put together with."""

from __future__ import annotations

from dataclasses import dataclass

# What pip finds today.
NEWEST = "newest"

# An old gevent wants pkg_resources, and there these by names that newer ones write differently; an old Flask takes any
# werkzeug.
_OLD = ("zope.event<5.1", "zope.interface<7", "werkzeug<3", "setuptools<81")
# Before 1.26.16 urllib3 does not close what a test's pools still keep when they are forgotten.
_UNCLOSED = ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning")
# Flask 1.1 asks for no upper bounds of what it is made of, and has been broken by all of them since.
_LEGACY = (*_OLD, "markupsafe<2.1", "itsdangerous<2.1", "jinja2<3.1", "werkzeug<2.1")


@dataclass(frozen=True)
class Row:
    """One stack.

    Args:
        python: major and minor version of the interpreter.
        label: which of the interpreter's rows it is.
        gevent: a version, or NEWEST; so are the next ones.
        urllib3: as gevent.
        sdk: as gevent, of optimizely-sdk.
        flask: as gevent.
        gunicorn: as gevent.
        more: requirements that this stack needs beside.
        warnings: categories that are no failure in this row, because the stack itself gives them.
        has_client: whether the SDK is new enough for create_client; else the dispatcher is tested alone, in an
            application of the old kind.
        is_quick: whether it belongs to the short form.
    """

    python: str
    label: str
    gevent: str
    urllib3: str
    sdk: str
    flask: str
    gunicorn: str
    more: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    has_client: bool = True
    is_quick: bool = False

    @property
    def name(self) -> str:
        """What `--only` is matched with."""
        return f"{self.python} {self.label}"

    def pins(self) -> dict[str, str]:
        """What is asked for, by the names of the packages."""
        return {
            "gevent": self.gevent,
            "urllib3": self.urllib3,
            "optimizely-sdk": self.sdk,
            "flask": self.flask,
            "gunicorn": self.gunicorn,
        }

    def requirements(self) -> list[str]:
        """What pip is asked for."""
        return [name if version == NEWEST else f"{name}=={version}" for name, version in self.pins().items()]


@dataclass(frozen=True)
class Impossible:
    """What cannot be installed, and why; tried all the same, so that the reason stays true.

    Args:
        python: as in a row.
        requirement: of pip.
        reason: for people.
    """

    python: str
    requirement: str
    reason: str


# Each interpreter with the oldest and the newest gevent that has a wheel for it and works, and what teams may still
# have. From 5.5 on the SDK does not work on Python 3.8; before 24.10.3 gevent does not on 3.13 (see setup.py).
ROWS = (
    Row("3.8", "legacy", "21.12.0", "1.26.20", "3.10.0", "1.1.4", "19.9.0", _LEGACY, is_quick=True),
    Row("3.8", "between", "22.10.2", "1.26.20", "4.1.1", "2.0.3", "20.1.0", _OLD),
    # With urllib3 2.2, whose pools ask other things of an answer than those before and after it.
    Row("3.8", "newest", NEWEST, NEWEST, "5.4.0", NEWEST, NEWEST, is_quick=True),
    Row("3.9", "oldest", "21.12.0", "1.26.0", "4.1.1", "1.1.4", "20.0.4", _LEGACY, _UNCLOSED),
    Row("3.9", "newest", NEWEST, NEWEST, NEWEST, NEWEST, NEWEST),
    Row("3.10", "oldest", "21.12.0", "1.26.20", "3.10.0", "2.0.3", "20.1.0", _OLD),
    Row("3.10", "newest", NEWEST, NEWEST, NEWEST, NEWEST, NEWEST),
    Row("3.11", "SDK 2", "22.10.2", "1.26.20", "2.1.1", "1.1.4", "19.10.0", _LEGACY, has_client=False),
    Row("3.11", "oldest", "22.10.1", "1.26.20", "4.1.1", "2.2.5", "20.1.0", _OLD),
    Row("3.11", "old urllib3", NEWEST, "1.26.20", NEWEST, NEWEST, NEWEST),
    Row("3.11", "newest", NEWEST, NEWEST, NEWEST, NEWEST, NEWEST, is_quick=True),
    Row("3.12", "oldest", "23.7.0", "1.26.20", "5.0.1", "2.3.3", "21.2.0"),
    Row("3.12", "first urllib3 2", "23.9.1", "2.0.2", NEWEST, NEWEST, "23.0.0"),
    Row("3.12", "newest", NEWEST, NEWEST, NEWEST, NEWEST, NEWEST),
    Row("3.13", "oldest", "24.10.3", "1.26.20", "3.10.0", "3.0.3", "22.0.0", is_quick=True),
    Row("3.13", "newest", NEWEST, NEWEST, NEWEST, NEWEST, NEWEST, is_quick=True),
)

_NO_WHEEL = "gevent brought no wheel for this interpreter before"
IMPOSSIBLE = (
    Impossible("3.8", "gevent==24.10.1", "gevent has brought no wheel for this interpreter since"),
    Impossible("3.10", "gevent==21.8.0", _NO_WHEEL),
    Impossible("3.11", "gevent==22.8.0", _NO_WHEEL),
    Impossible("3.12", "gevent==22.10.2", _NO_WHEEL),
    Impossible("3.13", "gevent==24.2.1", _NO_WHEEL),
)


def rows(is_quick: bool = False) -> list[Row]:
    """The rows of the short form, or all.

    Args:
        is_quick: the short form.
    """
    return [row for row in ROWS if row.is_quick or not is_quick]
