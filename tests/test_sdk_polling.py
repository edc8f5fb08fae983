"""Polling within one process: what the SDK's own manager does, and what ours does otherwise."""

from __future__ import annotations

import json
import logging
from typing import Any, Iterator

import pytest
from optimizely.config_manager import AuthDatafilePollingConfigManager, PollingConfigManager, StaticConfigManager
from optimizely.exceptions import InvalidInputException
from optimizely.helpers.enums import NotificationTypes
from optimizely.notification_center import NotificationCenter
from optimizely.optimizely import Optimizely

from gevent_dispatcher.sdk import (
    GeventAuthDatafilePollingConfigManager,
    GeventPollingConfigManager,
    create_client,
)
from tests.hostile import refusing_port
from tests.test_sdk_forks import DatafileServer
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[DatafileServer]:
    with DatafileServer() as running:
        yield running


@pytest.fixture
def nowhere() -> Iterator[str]:
    with refusing_port() as port:
        yield f"http://127.0.0.1:{port}/datafile.json"


def test_a_client_with_an_sdk_key_polls(monkeypatch: pytest.MonkeyPatch, server: DatafileServer) -> None:
    monkeypatch.setattr(PollingConfigManager, "DATAFILE_URL_TEMPLATE", server.url + "/{sdk_key}.json")
    client = create_client(sdk_key="key")

    config = client.get_optimizely_config()

    assert isinstance(client.config_manager, GeventPollingConfigManager)
    assert config is not None
    assert config.revision == "1"
    client.config_manager.stop()


def test_a_client_with_an_access_token_polls_with_it(monkeypatch: pytest.MonkeyPatch, server: DatafileServer) -> None:
    template = server.url + "/{sdk_key}.json"
    monkeypatch.setattr(AuthDatafilePollingConfigManager, "DATAFILE_URL_TEMPLATE", template)
    client = create_client(sdk_key="key", datafile_access_token="token")

    assert isinstance(client.config_manager, GeventAuthDatafilePollingConfigManager)
    assert client.get_optimizely_config().revision == "1"
    client.config_manager.stop()


def test_polling_goes_on_after_a_datafile_that_could_not_be_had(nowhere: str) -> None:
    manager = GeventPollingConfigManager(sdk_key="key", url=nowhere, update_interval=1, blocking_timeout=0.3)

    assert manager.get_config() is None
    assert manager.is_running
    manager.stop()


def test_polling_that_fails_ends_and_says_so(
    nowhere: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    class Failing(GeventPollingConfigManager):
        def fetch_datafile(self) -> None:
            raise ZeroDivisionError("no datafile today")

    manager = Failing(sdk_key="key", url=nowhere, logger=logging.getLogger("failing"))

    assert manager.get_config() is None
    wait_until(lambda: not manager.is_running)
    assert "Polling for the datafile has failed and ends. Error: no datafile today" in caplog.text
    wait_until(lambda: "ZeroDivisionError" in capfd.readouterr().err)  # gevent says so


def test_a_datafile_that_is_given_serves_at_once(nowhere: str, server: DatafileServer) -> None:
    manager = GeventPollingConfigManager(sdk_key="key", url=nowhere, datafile=json.dumps(server.datafile))

    assert manager.get_config().get_revision() == "1"
    manager.stop()


def test_a_client_with_a_datafile_only_does_not_poll() -> None:
    assert type(create_client("{}").config_manager) is StaticConfigManager


def test_a_manager_of_the_users_own_stays(nowhere: str) -> None:
    own = GeventPollingConfigManager(sdk_key="key", url=nowhere)

    assert create_client(sdk_key="other", config_manager=own).config_manager is own
    own.stop()


@pytest.mark.parametrize("arguments", [{"error_handler": object()}, {"error_handler": object(), "datafile": "{}"}])
def test_a_wrong_argument_makes_the_client_that_the_sdk_makes(arguments: dict[str, Any]) -> None:
    ours, theirs = create_client(sdk_key="key", **arguments), Optimizely(sdk_key="key", **arguments)

    assert ours.is_valid is theirs.is_valid is False
    assert ours.config_manager is theirs.config_manager is None


def test_a_client_that_turns_out_invalid_does_not_poll(monkeypatch: pytest.MonkeyPatch, nowhere: str) -> None:
    monkeypatch.setattr(PollingConfigManager, "DATAFILE_URL_TEMPLATE", nowhere)
    monkeypatch.setattr("optimizely.helpers.validator.is_event_processor_valid", lambda _: False)

    client = create_client(sdk_key="key")

    assert not client.is_valid
    assert not client.config_manager.is_running  # type: ignore[attr-defined]


def test_a_manager_needs_what_the_sdks_needs() -> None:
    with pytest.raises(InvalidInputException):
        GeventPollingConfigManager()
    with pytest.raises(InvalidInputException):
        GeventPollingConfigManager(sdk_key="key", update_interval="often")
    with pytest.raises(InvalidInputException):
        GeventAuthDatafilePollingConfigManager("", sdk_key="key")


def test_it_waits_for_the_first_datafile_as_long_as_it_is_told(nowhere: str) -> None:
    manager = GeventPollingConfigManager(sdk_key="key", url=nowhere, blocking_timeout=0.05)

    assert manager.get_config() is None
    assert manager.is_running
    manager.stop()


@pytest.mark.timeout(30)
def test_nobody_waits_for_a_datafile_after_stop(nowhere: str) -> None:
    manager = GeventPollingConfigManager(sdk_key="key", url=nowhere, blocking_timeout=60)

    manager.stop()

    assert manager.get_config() is None


@pytest.mark.timeout(30)
def test_a_listener_is_given_the_new_datafile(server: DatafileServer) -> None:
    # With the SDK's own, it would wait for an event that is set after the listeners were called.
    center = NotificationCenter()
    manager = GeventPollingConfigManager(
        sdk_key="key", url=server.url, notification_center=center, blocking_timeout=60, update_interval=60
    )
    heard: list[str] = []
    center.add_notification_listener(
        NotificationTypes.OPTIMIZELY_CONFIG_UPDATE, lambda: heard.append(manager.get_config().get_revision())
    )

    assert manager.get_config().get_revision() == "1"
    assert heard == ["1"]
    manager.stop()


def test_starting_twice_is_harmless_and_starting_again_is_refused(server: DatafileServer) -> None:
    manager = GeventPollingConfigManager(sdk_key="key", url=server.url, update_interval=0.01)
    manager.get_config()

    manager.start()
    manager.stop()

    assert not manager.is_running
    assert set(server.most_at_once.values()) == {1}
    with pytest.raises(RuntimeError, match="make a new client"):
        manager.start()
