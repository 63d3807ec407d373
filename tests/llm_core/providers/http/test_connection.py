"""Encrypted connections: one that cannot be trusted gets no request, and one that is open can be cut."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
import time

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llm_core.providers.http import connection
from llm_core.providers.http.connection import Connection, RequestCancelled
from llm_core.providers.http.url_policy import UrlPolicy
from tests.llm_core.providers.conftest import make_credentials, make_request, wait_until_finished
from tests.support.fake_openai import OpenAIServer, finish_event, text_event
from tests.support.fake_server import Reply


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Self-signed, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(pem))
    return file


@pytest.fixture
def server(certificate):
    with OpenAIServer("vllm", tls=certificate) as running:
        yield running


def test_a_certificate_that_nobody_vouches_for(router, server):
    run = wait_until_finished(router.submit(make_request(server.model), make_credentials(server)))
    assert run.error.code == "provider_certificate"
    assert server.requests == []


def test_stop_wakes_a_thread_that_reads_an_encrypted_answer(router, server, certificate, monkeypatch):
    monkeypatch.setattr(connection, "_ssl_context", lambda: ssl.create_default_context(cafile=str(certificate)))
    gate = threading.Event()
    server.replies.append(Reply(events=[text_event("The"), text_event(" sea"), finish_event("stop")], gate=gate))
    run = router.submit(make_request(server.model), make_credentials(server))
    while not run.samples[0].events():
        assert run.active, run.error
        time.sleep(0.01)
    run.cancel()
    assert run.wait(5)
    until = time.monotonic() + 1.5  # sooner than the silence that is allowed
    while router.hosted.active_samples and time.monotonic() < until:
        time.sleep(0.01)
    assert router.hosted.active_samples == 0
    assert run.samples[0].text == "The"
    gate.set()


def test_a_line_that_was_cut_before_makes_no_request():
    with OpenAIServer("vllm") as server:
        line = Connection(UrlPolicy())
        line.cancel()
        with line.open_client() as client, pytest.raises(RequestCancelled):
            client.get(f"{server.address}/v1/models")
        assert server.requests == []


def test_redirects_are_not_followed_and_proxies_not_asked_for_ones_own_machine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with OpenAIServer("vllm") as server:
        server.replies.append(Reply(302, "", headers={"Location": "/v1/chat/completions"}))
        with Connection(UrlPolicy()).open_client() as client:
            assert client.get(f"{server.address}/v1/models").status_code == 302
        assert len(server.requests) == 1


def test_an_installation_for_others_asks_no_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with Connection(UrlPolicy(hosted=True)).open_client() as client:
        transport = client._transport_for_url(httpx.URL("http://example.com"))
        assert transport is client._transport
