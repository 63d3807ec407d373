"""Serve endpoints of Vertex AI with an open model on vLLM.

A dedicated endpoint passes requests through; a shared one takes chats as instances of a prediction.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support.fake_gemini import error_reply
from tests.support.fake_openai import OpenAIServer
from tests.support.fake_server import ACCESS_TOKEN, TOKEN_REPLY, WORDS, ReceivedRequest, Reply, sample_tokens

PLACE = "my-project/us-central1"
ENDPOINTS = "/v1/projects/my-project/locations/us-central1/endpoints"
DEDICATED, SHARED, EMPTY = "456", "789", "12"


class EndpointServer(OpenAIServer):
    def __init__(self, endpoint: str = DEDICATED) -> None:
        super().__init__("vllm")
        self.endpoint = endpoint
        self.plain = False
        """Whether predictions are the text of prompt and answer instead of a chat's JSON."""

    @property
    def model(self) -> str:
        return f"endpoint:{self.endpoint}@{PLACE}"

    def check(self, request: ReceivedRequest) -> Reply | None:
        path = request.path.partition("?")[0]
        if path == "/token":
            return None
        if request.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
            return error_reply(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
        if request.method == "GET" and re.fullmatch(f"{ENDPOINTS}(/({DEDICATED}|{SHARED}))?", path):
            return None
        if path == f"{ENDPOINTS}/{SHARED}:predict":
            return self._check_instances(request.body)
        if not path.startswith(f"{ENDPOINTS}/{DEDICATED}/invoke/"):
            return error_reply(404, "The Endpoint does not exist.", "NOT_FOUND")
        inner = path.removeprefix(f"{ENDPOINTS}/{DEDICATED}/invoke")
        if inner == "/detokenize":
            return None
        return self._check_chat(inner, request.body)

    def _check_instances(self, body: Any) -> Reply | None:
        if set(body) != {"instances"} or len(body["instances"]) != 1:
            return error_reply(400, "Exactly one instance is expected.", "INVALID_ARGUMENT")
        instance = dict(body["instances"][0])
        if instance.pop("@requestFormat", "") != "chatCompletions" or "stream" in instance:
            return error_reply(400, "Unknown request format.", "INVALID_ARGUMENT")
        return self._check_chat("/v1/chat/completions", instance | {"model": ""})

    def _check_chat(self, path: str, body: Any) -> Reply | None:
        if path not in ("/v1/chat/completions", "/v1/completions") or body.get("model") != "":
            return error_reply(404, "Not Found", "NOT_FOUND")
        return self._check_fields(path, body | {"model": "sea"})

    def answer(self, request: ReceivedRequest) -> Reply:
        path = request.path.partition("?")[0]
        if path == "/token":
            return TOKEN_REPLY
        if path == ENDPOINTS:
            return Reply(body={"endpoints": [self._entry(each) for each in (DEDICATED, SHARED, EMPTY)]})
        if request.method == "GET":
            return Reply(body=self._entry(path.rpartition("/")[2]))
        if path.endswith(":predict"):
            return self._prediction(request.body["instances"][0])
        return super().answer(
            ReceivedRequest(request.method, path.partition("/invoke")[2], request.headers, request.body)
        )

    def _entry(self, endpoint: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"name": ENDPOINTS[4:] + f"/{endpoint}", "displayName": f"gemma {endpoint}"}
        if endpoint != EMPTY:
            entry["deployedModels"] = [{"id": "1", "model": "projects/my-project/locations/us-central1/models/9"}]
        if endpoint == DEDICATED:
            host = self.address.partition("://")[2]
            entry |= {"dedicatedEndpointEnabled": True, "dedicatedEndpointDns": host}
        return entry

    def _prediction(self, instance: dict[str, Any]) -> Reply:
        drawn = list(sample_tokens(self._sampler_config(instance), instance["max_tokens"]))
        text = "".join(WORDS[each.token_id] for each in drawn if each.token_id)
        if self.plain:
            return Reply(body={"predictions": [f"Prompt:\n{instance['messages']}\nOutput:\n{text}"]})
        message = {"role": "assistant", "content": text}
        reason = "length" if drawn[-1].token_id else "stop"
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return Reply(body={"predictions": {"object": "chat.completion", "choices": [choice]}})


def write_account(server: EndpointServer, folder: Path) -> str:
    """Write application-default credentials to a file and return its path."""
    return str(server.write_service_account(folder / "account.json"))
