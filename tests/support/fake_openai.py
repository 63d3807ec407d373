"""Serve OpenAI's wire format and its dialects, strict about paths, keys, types and field names.

`dialect` says how unknown fields are treated: `openai` refuses them by name, `vllm` and `llama_cpp` ignore them;
`llama_cpp` gives ids with its log-probabilities and has sampler defaults of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from samplers import SamplerConfig
from tests.support.fake_server import WORDS, FakeServer, ReceivedRequest, Reply, SampledToken, interleave, sample_tokens

Dialect = Literal["openai", "vllm", "llama_cpp"]
NUMBER = (int, float)
OFFICIAL_FIELDS = {
    "model": str,
    "messages": list,
    "stream": bool,
    "stream_options": dict,
    "max_tokens": int,
    "max_completion_tokens": int,
    "temperature": NUMBER,
    "top_p": NUMBER,
    "presence_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "seed": int,
    "stop": list,
    "n": int,
    "logprobs": (bool, int),
    "top_logprobs": int,
    "logit_bias": dict,
    "response_format": dict,
    "reasoning_effort": str,
    "prompt": str,
}
LLAMA_CPP_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}


class OpenAIServer(FakeServer):
    def __init__(self, dialect: Dialect = "vllm", key: str = "", tls: Path | None = None) -> None:
        super().__init__(tls)
        self.dialect = dialect
        self.key = key
        self.applied_fields = {
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "presence_penalty",
            "frequency_penalty",
            "seed",
        }
        """Sampler fields that the model applies."""
        self.refused_fields: dict[str, str] = {}
        """Error messages by field that the model refuses."""
        self.logprobs = True
        self.candidates = 8
        """Most candidates that the model gives a call."""
        self.has_chat_template = True
        self.has_detokenizer = True
        self.detokenized_ids: list[int] = []
        """Tokens whose texts were requested; these requests are not among `asked`."""

    @property
    def model(self) -> str:
        return f"openai:sea@{self.address}/v1"

    def record_request(self, request: ReceivedRequest) -> None:
        if request.path.endswith("/detokenize"):
            self.detokenized_ids += request.body["tokens"]
        else:
            super().record_request(request)

    def check(self, request: ReceivedRequest) -> Reply | None:
        if request.path == "/detokenize" and self.dialect == "vllm" and self.has_detokenizer:
            return None
        if request.path not in ("/v1/chat/completions", "/v1/completions", "/v1/models"):
            return error_reply(404, f"Invalid URL ({request.method} {request.path})")
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return error_reply(401, "Incorrect API key provided.", code="invalid_api_key")
        if request.path == "/v1/models":
            return None if request.method == "GET" else error_reply(405, "Method not allowed")
        if not isinstance(request.body, dict):
            return error_reply(400, "We could not parse the JSON body of your request.")
        return self._check_fields(request.path, request.body)

    def _check_fields(self, path: str, body: dict[str, Any]) -> Reply | None:
        if ("messages" in body) != (path == "/v1/chat/completions") or ("prompt" in body) == ("messages" in body):
            return error_reply(400, "Missing required parameter: 'messages'.")
        for name, value in body.items():
            if name in self.refused_fields:
                return error_reply(400, self.refused_fields[name])
            kind = OFFICIAL_FIELDS.get(name)
            if kind is None and self.dialect == "openai":
                return error_reply(400, f"Unrecognized request argument supplied: {name}")
            if kind and (not isinstance(value, kind) or (isinstance(value, bool) and kind == NUMBER)):
                return error_reply(400, f"Invalid type for '{name}'", param=name)
        if body.get("n", 1) < 1:
            return error_reply(400, "Invalid 'n': integer below minimum value", param="n")
        if body.get("n", 1) > 1 and self.dialect == "vllm" and body.get("temperature") == 0:
            return error_reply(400, f"n must be 1 when using greedy sampling, got {body['n']}.")
        for message in body.get("messages", []):
            if set(message) != {"role", "content"} or message["role"] not in ("system", "user", "assistant"):
                return error_reply(400, "Invalid value for 'messages'", param="messages")
        if "top_logprobs" in body and body.get("logprobs") is not True:
            return error_reply(400, "top_logprobs requires logprobs to be set to true")
        if body["model"] != "sea":
            return error_reply(404, f"The model `{body['model']}` does not exist.", code="model_not_found")
        if "messages" in body and not self.has_chat_template:
            return error_reply(400, "As of transformers v4.44, default chat template is no longer allowed.")
        return None

    def answer(self, request: ReceivedRequest) -> Reply:
        if request.path == "/v1/models":
            meta = {"meta": {"n_vocab": len(WORDS), "n_ctx": 4096}} if self.dialect == "llama_cpp" else {}
            return Reply(body={"object": "list", "data": [{"id": "sea", "object": "model", **meta}]})
        if request.path == "/detokenize":
            return Reply(body={"prompt": "".join(WORDS[token] for token in request.body["tokens"])})
        body = request.body
        most = body.get("max_tokens") or body["max_completion_tokens"]
        chat = "messages" in body
        count = min(body.get("n", 1), self.candidates)
        drawn = [list(sample_tokens(self._sampler_config(body, place), most)) for place in range(count)]
        events: list[Any] = [
            set_candidate(place, event)
            for place, event in interleave([self._answer_events(body, each, chat) for each in drawn])
        ]
        if body.get("stream_options", {}).get("include_usage"):
            events.append({"choices": [], "usage": usage(sum(map(len, drawn)))})
        return Reply(events=[*events, "data: [DONE]"])

    def _answer_events(self, body: dict[str, Any], drawn: list[SampledToken], chat: bool) -> list[Any]:
        ended = drawn[-1].token_id == 0
        events = [self.event(body, each, chat) for each in drawn if each.token_id]
        return [*events, finish_event("stop" if ended else "length", chat)]

    def _sampler_config(self, body: dict[str, Any], candidate: int = 0) -> SamplerConfig:
        """Return the sampler of a candidate. Without a seed candidates differ; one seed makes them all the same."""
        own = LLAMA_CPP_DEFAULTS if self.dialect == "llama_cpp" else {}
        values = own | {"seed": 1000 + candidate} | {name: body[name] for name in self.applied_fields if name in body}
        return SamplerConfig(**values)

    def event(self, body: dict[str, Any], drawn: SampledToken, chat: bool = True) -> dict[str, Any]:
        text = WORDS[drawn.token_id]
        choice: dict[str, Any] = {"index": 0, "finish_reason": None}
        choice |= {"delta": {"content": text}} if chat else {"text": text}
        if self.logprobs and "logprobs" in body and body["logprobs"] is not False:
            count = body["top_logprobs"] if chat else body["logprobs"]
            chatty = chat or self.dialect == "llama_cpp"
            choice["logprobs"] = (
                self._chat_logprobs(body, drawn, count) if chatty else self._completion_logprobs(body, drawn, count)
            )
        return {"object": "chat.completion.chunk", "model": "sea", "choices": [choice]}

    def _chat_logprobs(self, body: dict[str, Any], drawn: SampledToken, count: int) -> dict[str, Any]:
        by_id = self.dialect == "vllm" and body.get("return_tokens_as_token_ids")

        def entry(token: int, text: str) -> dict[str, Any]:
            found = {"token": text, "logprob": drawn.logprobs[token], "bytes": list(text.encode())}
            return found | ({"id": token} if self.dialect == "llama_cpp" else {})

        def name(token: int) -> str:
            return f"token_id:{token}" if by_id else WORDS[token]

        top = [entry(token, name(token)) for token in drawn.top(count)]
        chosen = entry(drawn.token_id, name(drawn.token_id)) | {"bytes": list(WORDS[drawn.token_id].encode())}
        return {"content": [chosen | {"top_logprobs": top}]}  # as vLLM does, whose ids have bytes of their own

    def _completion_logprobs(self, body: dict[str, Any], drawn: SampledToken, count: int) -> dict[str, Any]:
        by_id = body.get("return_tokens_as_token_ids")

        def name(token: int) -> str:
            return f"token_id:{token}" if by_id else WORDS[token]

        shown = {name(token): drawn.logprobs[token] for token in {*drawn.top(count), drawn.token_id}}
        return {
            "text_offset": [0],
            "tokens": [name(drawn.token_id)],
            "token_logprobs": [drawn.logprobs[drawn.token_id]],
            "top_logprobs": [shown],
        }


def text_event(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def set_candidate(candidate: int, event: dict[str, Any]) -> dict[str, Any]:
    """Return the event as another candidate's."""
    return event | {"choices": [choice | {"index": candidate} for choice in event["choices"]]}


def finish_event(reason: str, chat: bool = True) -> dict[str, Any]:
    said = {"delta": {}} if chat else {"text": ""}
    return {"choices": [{"index": 0, "finish_reason": reason, **said}]}


def usage(written: int) -> dict[str, Any]:
    return {
        "prompt_tokens": 9,
        "completion_tokens": written,
        "total_tokens": 9 + written,
        "prompt_tokens_details": {"cached_tokens": 4},
    }


def error_reply(status: int, message: str, **more: Any) -> Reply:
    return Reply(status, {"error": {"message": message, "type": "invalid_request_error", **more}})
