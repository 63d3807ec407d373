"""Keys: where they come from, where they may go, and a search for a planted one everywhere else."""

from __future__ import annotations

import logging
import os
import pickle

import pytest
from pydantic import SecretStr

from llm_core.providers.credentials import Credentials
from llm_core.providers.model_id import Target
from tests.llm_core.providers.conftest import (
    PLANTED_KEY,
    make_credentials,
    make_request,
    make_router,
    wait_until_finished,
)
from tests.support.fake_openai import OpenAIServer, error_reply

OPENAI = "https://api.openai.com/v1"
MINE = "http://127.0.0.1:8000/v1"


def find_key(credentials: Credentials, scheme: str, place: str = "", own: str = OPENAI) -> str | None:
    found = credentials.key(Target(scheme, "m", place), own)
    return found and found.get_secret_value()


def test_a_key_of_the_environment_goes_to_its_makers_address_only():
    credentials = Credentials(stored={"OPENAI_API_KEY": "env"})
    assert find_key(credentials, "openai") == "env"
    assert find_key(credentials, "openai", OPENAI) == "env"
    assert find_key(credentials, "openai", MINE) is None
    assert find_key(credentials, "gemini") is None


def test_a_typed_key_belongs_to_its_address_and_comes_first():
    typed = {"openai": SecretStr("own"), f"openai:{MINE}": SecretStr("mine")}
    credentials = Credentials(typed, {"OPENAI_API_KEY": "env"})
    assert find_key(credentials, "openai") == "own"
    assert find_key(credentials, "openai", MINE) == "mine"
    assert find_key(credentials, "openai", MINE + "/other") is None


def test_a_secrets_file_names_addresses():
    stored = {"keys": {f"openai:{MINE}": "filed"}, "GEMINI_API_KEY": "g", "GOOGLE_API_KEY": "h"}
    assert find_key(Credentials(stored=stored), "openai", MINE) == "filed"
    assert find_key(Credentials(stored=stored), "gemini") == "g"


def test_all_sources_together():
    environment = {"OPENAI_API_KEY": "env", "GEMINI_API_KEY": "env", "HOME": "/root"}
    secrets = {"GEMINI_API_KEY": "file", "keys": {f"openai:{MINE}": "filed"}, "database": "hidden"}
    credentials = Credentials.from_sources({"vertex": SecretStr("typed")}, secrets, environment)
    found = [find_key(credentials, *each) for each in (("openai",), ("gemini",), ("vertex",), ("openai", MINE))]
    assert found == ["env", "file", "typed", "filed"]
    assert set(credentials.stored) == {"OPENAI_API_KEY", "GEMINI_API_KEY", "keys"}


@pytest.mark.parametrize("fails", [False, True])
def test_a_planted_key_is_nowhere_but_in_the_requests_header(caplog, capfd, fails):
    """After runs that succeed and fail: in records, messages, logs, output, the environment, and text forms."""
    caplog.set_level(logging.DEBUG)
    router = make_router()
    with OpenAIServer("vllm", key=PLANTED_KEY) as server:
        credentials = make_credentials(server)
        if fails:
            server.replies.extend(
                [
                    error_reply(400, f"bad field top_k for {PLANTED_KEY}: not supported"),
                    error_reply(403, f"no {PLANTED_KEY}"),
                ]
            )
        run = wait_until_finished(router.submit(make_request(server.model), credentials))
        assert (run.status == "failed") is fails
        assert all(PLANTED_KEY in request.headers["authorization"] for request in server.requests)
        assert all(PLANTED_KEY not in str(request.body) + request.path for request in server.requests)
        seen = [
            *(repr(vars(run)), repr(run.request), repr(run.notices), repr(run.error), str(run.error)),
            *(repr(vars(row)) for row in run.samples),
            *(
                repr(router.hosted.table.get(router.target(server.model)).reasons),
                repr(vars(router.hosted)),
                repr(credentials),
            ),
            *(caplog.text, repr(os.environ), *capfd.readouterr()),
        ]
        assert PLANTED_KEY not in "\n".join(seen)
        assert PLANTED_KEY.encode() not in pickle.dumps(
            (run.request, run.labels, run.samples[0].events(), run.samples[0].text)
        )
