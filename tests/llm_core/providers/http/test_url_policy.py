"""Base URLs: what is well formed, what a shared installation may call, and what a name leads to in the end."""

from __future__ import annotations

import socket

import pytest

from llm_core import Engine, ModelStore, NucleusError
from llm_core.providers.dispatch.service import HostedService
from llm_core.providers.http import url_policy
from llm_core.providers.http.url_policy import UrlPolicy, is_public, normalize_url
from llm_core.router import PROVIDERS, Router
from tests.llm_core.providers.conftest import QUICK_LIMITS, make_request, wait_until_finished
from tests.support.fake_openai import OpenAIServer

PUBLIC = "https://8.8.8.8/v1"


def refusal_code(check, *args) -> str:
    with pytest.raises(NucleusError) as caught:
        check(*args)
    return caught.value.code.removeprefix("provider_address_")


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        (" HTTPS://Api.Example.com/V1/ ", "https://api.example.com/V1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_normalised(url, becomes):
    assert normalize_url(url) == becomes


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8080", "ftp://host/v1", "file:///etc/passwd", "http://", "http:///v1", "http://host:99999"),
        *("http://host:0/", "http://ho st/", "http://host\n/v1", "http://host\\@evil/", "http://[::1/v1"),
        *("javascript:alert(1)", "http://host/a/../b", "http://" + "a" * 600),
    ],
)
def test_malformed(url):
    assert refusal_code(normalize_url, url) == "invalid"


@pytest.mark.parametrize(
    "url", ["http://user:sk-1@host/v1", "http://sk-1@host", "http://host/v1?key=sk-1", "http://h/#sk-1"]
)
def test_keys_in_addresses_are_refused_and_not_quoted(url):
    with pytest.raises(NucleusError) as caught:
        normalize_url(url)
    assert caught.value.code == "provider_address_with_key"
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *[(address, True) for address in ("8.8.8.8", "2001:4860:4860::8888")],
        *[(address, False) for address in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254")],
        *[(address, False) for address in ("0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "nonsense", "")],
        *[(address, False) for address in ("::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "2002:a00:1::")],
    ],
)
def test_public_addresses(address, public):
    assert is_public(address) is public


def test_ones_own_machine_may_call_anything():
    assert UrlPolicy().check("http://192.168.1.5:8000/v1") == "http://192.168.1.5:8000/v1"


@pytest.mark.parametrize(
    "host",
    # the last four are 127.0.0.1 too
    [
        "127.0.0.1",
        "localhost",
        "10.0.0.7",
        "169.254.169.254",
        "[::1]",
        "2130706433",
        "0x7f000001",
        "127.1",
        "0177.0.0.1",
    ],
)
def test_an_installation_for_others_refuses_private_ones(host):
    assert refusal_code(UrlPolicy(hosted=True).check, f"http://{host}:8000/v1") == "private"


def test_an_installation_for_others_takes_public_ones_and_what_is_listed():
    rules = UrlPolicy(hosted=True)
    assert rules.check(PUBLIC) == PUBLIC
    listed = UrlPolicy(hosted=True, allowed=("http://10.0.0.7:8000",))
    assert listed.check("http://10.0.0.7:8000/v1/") == "http://10.0.0.7:8000/v1"
    for other in (PUBLIC, "http://10.0.0.7:80001/v1", "http://10.0.0.7:8001", "http://10.0.0.7:8000.evil.com/"):
        assert refusal_code(listed.check, other) in ("not_allowed", "invalid")


def test_rules_come_from_the_environment():
    rules = UrlPolicy.from_environment(
        {"NUCLEUS_HOSTED": "1", "NUCLEUS_ALLOWED_URLS": "https://a.example/v1/, http://b"}
    )
    assert rules == UrlPolicy(True, ("https://a.example/v1", "http://b"))
    assert UrlPolicy.from_environment({"NUCLEUS_HOSTED": "0"}) == UrlPolicy()


def test_an_installation_for_others_lends_its_identity_to_its_own_projects_only():
    rules = UrlPolicy.from_environment({"NUCLEUS_HOSTED": "1", "NUCLEUS_VERTEX_PROJECTS": "mine/us-central1"})
    router = Router(Engine(ModelStore()), HostedService(PROVIDERS, rules, QUICK_LIMITS))
    assert router.target("vertex:gemini-2.5-flash@mine/us-central1").place == "mine/us-central1"
    with pytest.raises(NucleusError) as caught:
        router.target("vertex:gemini-2.5-flash@yours/us-central1")
    assert caught.value.code == "provider_project_not_allowed"
    assert UrlPolicy().check_project("yours/us-central1") == "yours/us-central1"


def test_a_name_that_leads_inside_only_when_it_is_called_gets_no_request(monkeypatch):
    """DNS rebinding: the first look-up shows a public address, the connection leads to this machine."""
    with OpenAIServer(key="") as server:
        real = socket.getaddrinfo
        port = server.address.rpartition(":")[2]
        monkeypatch.setattr(url_policy, "_resolve_host", lambda parts: ["8.8.8.8"])
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
        hosted = HostedService(PROVIDERS, UrlPolicy(hosted=True), QUICK_LIMITS)
        router = Router(Engine(ModelStore()), hosted)
        run = wait_until_finished(router.submit(make_request(f"openai:sea@http://rebinding.example:{port}/v1")))
        assert run.error.code == "provider_address_private"
        assert server.requests == []
