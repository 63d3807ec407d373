"""Errands: what a page waits for ends by itself, by Stop or by its limit, and says why."""

from __future__ import annotations

import threading

import pytest

from llm_core.errors import NucleusError
from llm_core.providers.credentials import Credentials
from llm_core.providers.dispatch.service import HostedService
from llm_core.providers.http.background_call import BackgroundCall
from llm_core.providers.http.connection import Connection
from llm_core.providers.http.url_policy import UrlPolicy
from llm_core.providers.openai.client import OpenAICompatible
from tests.support.fake_openai import OpenAIServer
from tests.support.fake_server import Reply


def make_call(ask, limit: float = 20) -> BackgroundCall:
    return BackgroundCall(ask, Connection(UrlPolicy()), limit)


def test_what_comes_back_and_what_comes_instead():
    done = make_call(lambda line: None)
    assert done.wait(20)
    assert (done.value(), done.error, done.stopped, done.fraction) == (None, None, False, 1.0)

    def refuse(line: Connection) -> None:
        raise NucleusError("provider_key_missing")

    refused = make_call(refuse)
    assert refused.wait(20)
    with pytest.raises(NucleusError, match="key"):
        refused.value()


def test_a_fault_is_said_and_its_text_is_not_logged(caplog):
    planted = "sk-planted-" + "errand"

    def fail(line: Connection) -> None:
        raise RuntimeError(planted)

    failed = make_call(fail)
    assert failed.wait(20)
    assert failed.error.code == "engine_failed"
    assert "RuntimeError" in caplog.text
    assert planted not in caplog.text


@pytest.mark.parametrize("way", ["stop", "limit"])
def test_a_server_that_does_not_answer_is_left(way):
    with OpenAIServer("vllm") as server:
        service = HostedService({"openai": OpenAICompatible}, UrlPolicy())
        gate, place = threading.Event(), f"{server.address}/v1"
        server.replies.append(Reply(body={}, gate=gate))
        threads: list[threading.Thread] = []

        def ask(line: Connection):
            threads.append(threading.current_thread())
            return service.models("openai", place, Credentials.from_sources(), line)

        waited = BackgroundCall(ask, service.make_connection(), 0.4 if way == "limit" else 20)
        if way == "stop":
            assert not waited.wait(0.2)
            assert 0 < waited.fraction < 1
            with pytest.raises(RuntimeError):
                waited.value()
            waited.stop()
        assert waited.wait(10)
        assert waited.stopped is (way == "stop")
        assert (waited.error.code if waited.error else None) == ("provider_slow" if way == "limit" else None)
        threads[0].join(10)  # the line is cut: nothing is left waiting
        assert not threads[0].is_alive()
        gate.set()
