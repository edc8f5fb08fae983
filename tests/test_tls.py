"""Whose certificates are trusted, which names are accepted, and what a server asks of us: over real sockets."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from gevent_dispatcher import Answer
from gevent_dispatcher._tls import Context, make_context
from tests.hostile import Certificate, HostileServer, make_certificates
from tests.links import clear_environment, opened, post


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    clear_environment(monkeypatch)


@pytest.fixture
def hashed(certificates: dict[str, Certificate], tmp_path: Path) -> Path:
    """A directory of certificates as OpenSSL looks for them: by a hash of the name."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is not here")
    trust = certificates["good"].trust
    said = subprocess.run([openssl, "x509", "-hash", "-noout", "-in", str(trust)], stdout=subprocess.PIPE, check=True)
    shutil.copy(str(trust), str(tmp_path / f"{said.stdout.decode().strip()}.0"))
    return tmp_path


def posted_with_requests(url: str) -> int | None:
    try:
        return requests.post(url, b"{}", timeout=10).status_code
    except requests.exceptions.SSLError:
        return None


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_is_the_one_that_requests_trusts(
    certificates: dict[str, Certificate], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for trusted in ("good", "self_signed"):
        monkeypatch.setenv(variable, str(certificates[trusted].trust))
        with HostileServer(certificate=certificates["good"]) as server:
            url = server.url("status/204")
            assert post(opened(), url).status == posted_with_requests(url) == (204 if trusted == "good" else None)


def test_of_two_bundles_the_one_counts_that_counts_for_requests(
    certificates: dict[str, Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates["self_signed"].trust))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificates["good"].trust))
    with HostileServer(certificate=certificates["good"]) as server:
        url = server.url("status/204")
        assert post(opened(), url).status is posted_with_requests(url) is None


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
def test_a_directory_of_certificates_is_trusted(
    hashed: Path, variable: str, certificates: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv(variable, str(hashed))
    with HostileServer(certificate=certificates["good"]) as server:
        assert post(opened(), server.url("status/204")) == Answer(204)


def test_the_variable_that_openssl_reads_is_honoured(
    certificates: dict[str, Certificate], monkeypatch: pytest.MonkeyPatch
) -> None:
    with HostileServer(certificate=certificates["good"]) as server:
        assert post(opened(), server.url("status/204")).status is None
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates["good"].trust))
        assert post(opened(), server.url("status/204")) == Answer(204)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_who_says_where_the_certificates_are_trusts_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    missing = tmp_path / "missing"
    monkeypatch.setenv("SSL_CERT_FILE", str(missing))
    monkeypatch.setenv(variable, str(missing))
    assert make_context().cert_store_stats()["x509_ca"] == 0


def test_the_certificate_must_be_of_the_host_or_address_that_was_asked(certificates: dict[str, Certificate]) -> None:
    trust = ssl.create_default_context(cafile=str(certificates["good"].trust))
    with HostileServer(certificate=certificates["good"]) as server:
        for host in ("127.0.0.1", "localhost"):
            assert post(opened(ssl_context=trust), server.url("status/204", host=host)) == Answer(204)
    with HostileServer(certificate=certificates["good"], host="127.0.0.2") as server:
        assert "certificate" in post(opened(ssl_context=trust), server.url("status/204")).error
    with HostileServer(certificate=certificates["good"], host="::1") as server:
        assert post(opened(ssl_context=trust), server.url("status/204")) == Answer(204)


@pytest.mark.parametrize("name", ["wrong_host", "expired", "self_signed"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_bad_certificate_gets_no_byte_of_a_request(
    certificates: dict[str, Certificate], name: str, host: str
) -> None:
    trust = ssl.create_default_context(cafile=str(certificates["good"].trust))
    with HostileServer(certificate=certificates[name]) as server:
        assert "certificate" in post(opened(ssl_context=trust), server.url("status/204", host=host)).error
        assert not server.received


def test_a_server_that_asks_for_a_certificate_of_ours(certificates: dict[str, Certificate]) -> None:
    good, ours = certificates["good"], certificates["client"]
    with HostileServer(certificate=good, clients=good.trust) as server:
        without = ssl.create_default_context(cafile=str(good.trust))
        assert post(opened(ssl_context=without), server.url("status/204")).status is None
        with_ours = ssl.create_default_context(cafile=str(good.trust))
        with_ours.load_cert_chain(str(ours.chain))
        link = opened(ssl_context=with_ours)
        assert [post(link, server.url("status/204")) for _ in range(2)] == [Answer(204)] * 2
        assert len(server.received) == 2


def test_verification_is_off_only_for_who_says_so(certificates: dict[str, Certificate]) -> None:
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    with HostileServer(certificate=certificates["self_signed"]) as server:
        assert post(opened(), server.url("status/204")).status is None
        with pytest.warns(match="Unverified HTTPS request"):  # urllib3's own
            assert post(opened(ssl_context=careless), server.url("status/204")) == Answer(204)


def test_plain_http_where_tls_is_expected_and_the_reverse(certificates: dict[str, Certificate]) -> None:
    with HostileServer() as plain, HostileServer(certificate=certificates["good"]) as tls:
        for url in (
            plain.url("status/204").replace("http:", "https:"),
            tls.url("status/204").replace("https:", "http:"),
        ):
            answer = post(opened(), url)
            assert answer.status is None
            assert answer.error
        assert not plain.received
        assert not tls.received


# -- where there are no certificates -----------------------------------------------------------------------------------


@pytest.fixture
def bare_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A system with an empty directory for certificates."""
    paths = ssl.get_default_verify_paths()._replace(capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda context: None)
    return tmp_path


def trusted(context: ssl.SSLContext) -> int:
    return context.cert_store_stats()["x509_ca"]


def test_without_certificates_those_of_certifi_are_trusted(bare_system: Path) -> None:
    assert trusted(make_context()) > 10


def test_without_certificates_and_certifi_none_is_trusted(bare_system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "certifi", None)
    assert trusted(make_context()) == 0


def test_a_directory_with_certificates_is_enough(bare_system: Path) -> None:
    (bare_system / "0.pem").touch()
    assert trusted(make_context()) == 0


def test_what_urllib3_changes_of_a_context_is_changed() -> None:
    native = make_context()
    context = Context(native, "h")
    context.check_hostname = False
    assert native.check_hostname is False
