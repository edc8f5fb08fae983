"""The test process is patched, as the servers are that the library is made for."""

# ruff: noqa: E402  # the patch comes first, as in the servers
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os
from typing import TYPE_CHECKING, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests import measuring

if TYPE_CHECKING:
    from tests.sqs import Moto

# A machine's proxy leads to the package index, but never back to the machine: every test listens on loopback.
if any(name.lower().endswith("_proxy") and value for name, value in os.environ.items()):
    DIRECT = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "127.0.0.1"
    os.environ.update(dict.fromkeys(("no_proxy", "NO_PROXY"), f"{DIRECT},127.0.0.1,127.0.0.0/8,localhost,::1"))

# A property is tried on a machine that may be busy: an example that takes longer than usual is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Have the programs of a test that is marked as unmeasured start as ever."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("unmeasured"):
            for name in measuring.inherited():
                patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A server that speaks SQS."""
    from tests.sqs import Moto  # needs botocore

    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What clients sign with; they look for nothing else."""
    from tests.sqs import ENVIRON

    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def aws_region(aws_credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where clients look for a queue whose url does not say."""
    from tests.sqs import REGION

    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
