"""Settings: what is accepted, and what a wrong one says."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing

import pytest

from gevent_dispatcher import GeventEventDispatcher, HttpTransport, _config
from gevent_dispatcher._config import Config, HttpConfig

NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("batch_size", 0, "from 1 to 100000"),
        ("batch_size", 2.5, "a whole number of visitors"),
        ("batch_size", True, "a whole number of visitors"),
        ("batch_size", "10", "a whole number of visitors"),
        ("flush_interval", -1, "seconds from 0 to 3600"),
        ("flush_interval", NAN, "seconds from 0 to 3600"),
        ("flush_interval", None, "a number of seconds"),
        ("max_request_bytes", 4_000_000, "bytes from 1000 to 3500000"),
        ("buffer_events", 0, "events from 1"),
        ("buffer_bytes", 10, "bytes from 1000"),
        ("pool_size", 0, "greenlets from 1"),
        ("delivery_timeout", 0, "seconds from 0.1"),
        ("backoff_base", float("inf"), "seconds from 0.001"),
        ("backoff_max", 0.1, "must not be below backoff_base"),
        ("close_timeout", -0.1, "seconds from 0"),
        ("on_delivery", 3, "must be a callable"),
    ],
)
def test_a_wrong_setting_says_name_value_and_range(name: str, value: object, accepted: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        GeventEventDispatcher(**{name: value})
    assert repr(value) in str(caught.value)
    assert accepted in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("connect_timeout", 0, "seconds from 0.001"),
        ("read_timeout", "3", "a number of seconds"),
        ("request_timeout", NAN, "seconds from 0.001"),
        ("headers", ["a"], "mapping"),
        ("ssl_context", "x", "SSLContext"),
        ("proxy", 8080, "url"),
    ],
)
def test_a_wrong_http_setting_says_so_on_both_ways_in(name: str, value: object, accepted: str) -> None:
    for make in (HttpTransport, GeventEventDispatcher):
        with pytest.raises(ValueError, match=name) as caught:
            make(**{name: value})
        assert accepted in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [{"X-A": "b\r\nX-C: d"}, {"X-A": "b\x00"}, {"X A": "b"}, {"": "b"}, {"X-A": 1}, {1: "b"}, {"X-A": "\u20ac"}],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(headers: dict[typing.Any, typing.Any]) -> None:
    with pytest.raises(ValueError, match="header") as caught:
        HttpConfig(headers=headers)
    assert "b\r\n" not in str(caught.value)


def test_a_setting_that_does_not_exist_is_named_with_its_neighbour() -> None:
    with pytest.raises(TypeError, match="'batchsize'; did you mean 'batch_size'"):
        GeventEventDispatcher(batchsize=3)  # type: ignore[call-arg]  # what is tested


def test_http_settings_beside_a_transport_would_be_ignored_and_are_refused() -> None:
    with pytest.raises(ValueError, match="headers, read_timeout: would be ignored beside transport="):
        GeventEventDispatcher(transport=HttpTransport(), read_timeout=3, headers={})


def test_something_that_is_no_transport_is_refused() -> None:
    with pytest.raises(ValueError, match="must have open"):
        GeventEventDispatcher(transport="http://example.com")  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
def test_a_header_that_follows_from_the_body_is_no_setting(name: str) -> None:
    with pytest.raises(ValueError, match=f"headers: {name} is not a setting"):
        HttpConfig(headers={name: "3"})


def test_headers_and_proxy_stay_out_of_every_repr() -> None:
    dispatcher = GeventEventDispatcher(headers={"Authorization": "secret"}, proxy="http://user:secret@proxy:1")
    assert "secret" not in repr(dispatcher)


def test_settings_are_frozen() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.batch_size = 3  # type: ignore[misc]  # what is tested
    http = HttpConfig(headers={"X-A": "b"})
    with pytest.raises(TypeError, match="item assignment"):
        http.headers["X-A"] = "c"  # type: ignore[index]  # what is tested


def test_the_keywords_that_type_checkers_see_are_the_settings_that_there_are() -> None:
    source = ast_of_typed_dicts()
    assert source["HttpSettings"] == _config.HTTP_NAMES
    assert source["Settings"] == _config.CONFIG_NAMES
    assert source["ConsumerSettings"] == _config.CONSUMER_NAMES


def ast_of_typed_dicts() -> dict[str, set[str]]:
    classes = [node for node in ast.walk(ast.parse(inspect.getsource(_config))) if isinstance(node, ast.ClassDef)]
    return {
        each.name: {item.target.id for item in each.body if isinstance(item, ast.AnnAssign)}  # type: ignore[union-attr]
        for each in classes
    }
