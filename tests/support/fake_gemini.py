"""Serve the wire format of the Gemini Developer API and of Vertex AI, and tokens for a service account.

Strict about paths, keys, types and field names, which may be in camel case or in snake case, as in proto-JSON.
"""

from __future__ import annotations

import re
from typing import Any

from samplers import SamplerConfig
from tests.support.fake_server import (
    ACCESS_TOKEN,
    TOKEN_REPLY,
    WORDS,
    FakeServer,
    ReceivedRequest,
    Reply,
    SampledToken,
    interleave,
    sample_tokens,
)

NUMBER = (int, float)
REQUEST_FIELDS = {
    "contents": list,
    "systemInstruction": dict,
    "generationConfig": dict,
    "safetySettings": list,
}
GENERATION_FIELDS = {
    "temperature": NUMBER,
    "topP": NUMBER,
    "topK": NUMBER,
    "seed": int,
    "candidateCount": int,
    "maxOutputTokens": int,
    "stopSequences": list,
    "presencePenalty": NUMBER,
    "frequencyPenalty": NUMBER,
    "responseLogprobs": bool,
    "logprobs": int,
    "responseMimeType": str,
    "responseSchema": dict,
    "responseJsonSchema": dict,
    "thinkingConfig": dict,
}
THINKING_FIELDS = {"includeThoughts": bool, "thinkingBudget": int, "thinkingLevel": str}
ACTION_PATTERN = r"(?P<model>[^/:]+):(?P<action>streamGenerateContent|generateContent|countTokens)"


def to_camel_case(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


class GeminiServer(FakeServer):
    """A server of the Gemini Developer API, or of Vertex AI if `vertex` is `project/location` or `express`."""

    def __init__(self, key: str, vertex: str = "") -> None:
        super().__init__()
        self.key = key
        self.vertex = vertex
        self.refused_fields: dict[str, str] = {}
        """Error messages by field of the generation config, or `prefill`, that the model refuses."""
        self.logprobs = True
        self.candidates = 8
        """Most candidates that the model gives a call."""
        self.thoughts = ""

    @property
    def model(self) -> str:
        if not self.vertex:
            return f"gemini:sea@{self.address}"
        return "vertex:sea" if self.vertex == "express" else f"vertex:sea@{self.vertex}"

    @property
    def _models(self) -> str:
        if not self.vertex:
            return "/v1beta/models"
        if self.vertex == "express":
            return "/v1beta1/publishers/google/models"
        project, location = self.vertex.split("/")
        return f"/v1beta1/projects/{project}/locations/{location}/publishers/google/models"

    def check(self, request: ReceivedRequest) -> Reply | None:
        if request.path == "/token":
            return None
        if self.vertex and self.vertex != "express":
            if request.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
                return error_reply(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
        elif request.headers.get("x-goog-api-key") != self.key:
            reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
            return error_reply(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", reason)
        path, _, query = request.path.partition("?")
        if request.method == "GET" and path in (self._models, "/v1beta1/publishers/google/models"):
            return None
        found = re.fullmatch(re.escape(self._models) + "/" + ACTION_PATTERN, path)
        if not found or request.method != "POST":
            return Reply(
                404, "<html><title>Error 404 (Not Found)!!1</title></html>", headers={"Content-Type": "text/html"}
            )
        if found["action"] == "streamGenerateContent" and query != "alt=sse":
            return error_reply(400, "Expected alt=sse", "INVALID_ARGUMENT")
        if found["model"] != "sea":
            return error_reply(404, f"models/{found['model']} is not found for API version v1beta", "NOT_FOUND")
        if not isinstance(request.body, dict):
            return error_reply(400, "Invalid JSON payload received.", "INVALID_ARGUMENT")
        return self._check_fields(request.body, found["action"])

    def _check_fields(self, body: dict[str, Any], action: str) -> Reply | None:
        config = {to_camel_case(name): value for name, value in body.get("generationConfig", {}).items()}
        thinking = {to_camel_case(name): value for name, value in config.get("thinkingConfig", {}).items()}
        for fields, known in ((body, REQUEST_FIELDS), (config, GENERATION_FIELDS), (thinking, THINKING_FIELDS)):
            for name, value in fields.items():
                kind = known.get(to_camel_case(name))
                if kind is None or not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                    return error_reply(
                        400, f'Invalid JSON payload received. Unknown name "{name}".', "INVALID_ARGUMENT"
                    )
        if not body.get("contents"):
            return error_reply(400, "contents is not specified", "INVALID_ARGUMENT")
        for turn in body["contents"]:
            if set(turn) != {"parts", "role"} or turn["role"] not in ("user", "model"):
                return error_reply(400, "Please use a valid role: user, model.", "INVALID_ARGUMENT")
        if "logprobs" in config and not config.get("responseLogprobs"):
            return error_reply(400, "logprobs needs response_logprobs", "INVALID_ARGUMENT")
        if not 1 <= config.get("candidateCount", 1) <= 8:
            return error_reply(400, "candidate_count must be between 1 and 8", "INVALID_ARGUMENT")
        if "prefill" in self.refused_fields and body["contents"][-1]["role"] == "model":
            return error_reply(400, self.refused_fields["prefill"], "INVALID_ARGUMENT")
        for name in config:
            if name in self.refused_fields:
                return error_reply(400, self.refused_fields[name], "INVALID_ARGUMENT")
        return None

    def answer(self, request: ReceivedRequest) -> Reply:
        if request.path == "/token":
            return TOKEN_REPLY
        if request.method == "GET":
            return self._listing()
        if "countTokens" in request.path:
            return Reply(body={"totalTokens": 7})
        config = {to_camel_case(name): value for name, value in request.body["generationConfig"].items()}
        count = min(config.get("candidateCount", 1), self.candidates)
        answers = [self._answer_events(config, place) for place in range(count)]
        events = [set_candidate(place, event) for place, event in interleave(answers)]
        written = sum(map(len, answers)) - count * (2 if self.thoughts else 1)
        events[-1]["usageMetadata"] = {
            "promptTokenCount": 9,
            "candidatesTokenCount": written,
            "thoughtsTokenCount": 5 if self.thoughts else None,
            "cachedContentTokenCount": 4,
            "totalTokenCount": 9 + written,
        }
        return Reply(events=events, line_end="\r\n")

    def _answer_events(self, config: dict[str, Any], candidate: int) -> list[dict[str, Any]]:
        """Return one candidate's events. Without a seed candidates differ; one seed makes them all the same."""
        sampler = SamplerConfig(
            temperature=config.get("temperature", 1.0),
            top_p=config.get("topP", 0.95),
            top_k=int(config.get("topK", 64)),
            seed=config.get("seed", 1000 + candidate),
            order="gemini",
        )
        drawn = list(sample_tokens(sampler, config["maxOutputTokens"]))
        events = [text_event(self.thoughts, thought=True)] if self.thoughts else []
        events += [self._event(config, each) for each in drawn if each.token_id]
        last = text_event("")
        last["candidates"][0] |= {"finishReason": "MAX_TOKENS" if drawn[-1].token_id else "STOP"}
        return [*events, last]

    def _listing(self) -> Reply:
        if self.vertex:
            entry = {"name": "publishers/google/models/sea", "versionId": "default"}
            return Reply(body={"publisherModels": [entry]})
        entry = {"inputTokenLimit": 1000, "outputTokenLimit": 500, "supportedGenerationMethods": ["generateContent"]}
        other = {"name": "models/embedding", "supportedGenerationMethods": ["embedContent"]}
        return Reply(body={"models": [{"name": "models/sea", **entry}, other]})

    def _event(self, config: dict[str, Any], drawn: SampledToken) -> dict[str, Any]:
        event = text_event(WORDS[drawn.token_id])
        if config.get("responseLogprobs") and self.logprobs:

            def entry(token: int) -> dict[str, Any]:
                return {"token": WORDS[token], "tokenId": token + 100, "logProbability": drawn.logprobs[token]}

            event["candidates"][0]["logprobsResult"] = {
                "chosenCandidates": [entry(drawn.token_id)],
                "topCandidates": [{"candidates": [entry(token) for token in drawn.top(config["logprobs"])]}],
            }
        return event


def text_event(text: str, **part: Any) -> dict[str, Any]:
    parts = [{"text": text, **part}] if text else []
    return {"candidates": [{"index": 0, "content": {"role": "model", "parts": parts}}], "modelVersion": "sea"}


def set_candidate(candidate: int, event: dict[str, Any]) -> dict[str, Any]:
    """Return the event as another candidate's; index 0 is omitted, as proto-JSON omits zeros."""
    told = [{name: value for name, value in each.items() if name != "index"} for each in event["candidates"]]
    return event | {"candidates": [each | ({"index": candidate} if candidate else {}) for each in told]}


def finish_event(reason: str, **candidate: Any) -> dict[str, Any]:
    return {"candidates": [{"index": 0, "finishReason": reason, "content": {"role": "model"}, **candidate}]}


def error_reply(status: int, message: str, code: str = "", *details: dict[str, Any]) -> Reply:
    return Reply(status, {"error": {"code": status, "message": message, "status": code, "details": list(details)}})
