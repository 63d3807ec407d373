"""Serve Vertex AI's Prompt Management and evaluation, and keep what is sent.

Datasets have versions, operations take a while, and `:evaluateInstances` rates answers. Strict about paths, the bearer
token, names and types of fields.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from tests.support.fake_gemini import GENERATION_FIELDS, THINKING_FIELDS, error_reply, to_camel_case
from tests.support.fake_server import ACCESS_TOKEN, TOKEN_REPLY, FakeServer, ReceivedRequest, Reply

PLACE = "my-project/us-central1"
PARENT = "projects/my-project/locations/us-central1"
SCHEMA = "gs://google-cloud-aiplatform/schema/dataset/metadata/text_prompt_1.0.0.yaml"
MESSAGE_FIELDS = {
    "model": str,
    "contents": list,
    "system_instruction": dict,
    "generation_config": dict,
    "safety_settings": list,
}
METADATA_FIELDS = {"has_prompt_variable": bool, "prompt_api_schema": dict, "prompt_type": str}
DATASET_FIELDS = {"name": str, "displayName": str, "metadataSchemaUri": str, "metadata": dict, "modelReference": str}
PATH_PATTERN = re.compile(
    rf"/v1beta1/{PARENT}/(?P<kind>datasets)(/(?P<id>\d+)(/(?P<part>datasetVersions|operations)(/(?P<item>\d+))?)?)?"
)


class VertexServer(FakeServer):
    def __init__(self) -> None:
        super().__init__()
        self.datasets: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, dict[str, Any]]] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.polls_until_done = 1
        """Polls of an operation until it is done, the last one included."""
        self.operation_error = ""
        """Error message that operations end with; empty for success."""
        self.scores: dict[str, Any] = {}
        """Score by answer text, or a reply to send instead."""

    def check(self, request: ReceivedRequest) -> Reply | None:
        path, _, query = request.path.partition("?")
        if path == "/token":
            return None
        if request.headers.get("authorization") != f"Bearer {ACCESS_TOKEN}":
            return error_reply(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
        if path == f"/v1beta1/{PARENT}/:evaluateInstances" and request.method == "POST":
            return self._check_instance(request.body)
        found = PATH_PATTERN.fullmatch(path)
        if not found:
            return error_reply(404, f"Not found: {request.method} {path}", "NOT_FOUND")
        if found["id"] and found["id"] not in self.datasets:
            return error_reply(404, f"The Dataset {found['id']} does not exist.", "NOT_FOUND")
        if found["part"] == "datasetVersions" and found["item"]:
            if request.method != "GET" or found["item"] not in self.versions[found["id"]]:
                return error_reply(404, "The DatasetVersion does not exist.", "NOT_FOUND")
            return None
        match request.method:
            case "GET":
                return self._check_query(query, bool(found["id"]))
            case "PATCH" if found["id"] and not found["part"]:
                return _check_dataset(request.body, update=True)
            case "POST" if not found["id"]:
                return _check_dataset(request.body, update=False)
            case "POST" if found["part"] == "datasetVersions":
                return None if set(request.body) == {"displayName"} else _invalid_argument("displayName is expected")
        return error_reply(405, "Method not allowed", "UNIMPLEMENTED")

    def _check_query(self, query: str, inner: bool) -> Reply | None:
        given = parse_qs(query, strict_parsing=bool(query))
        if set(given) - {"pageSize", "pageToken", "filter"}:
            return _invalid_argument("Unknown query parameter")
        if not inner and given.get("filter") != [f'metadata_schema_uri="{SCHEMA}"']:
            return _invalid_argument("Unknown filter")
        return None

    def _check_instance(self, body: Any) -> Reply | None:
        if not isinstance(body, dict) or set(body) != {"metrics", "instance"} or len(body["metrics"]) != 1:
            return _invalid_argument("One metric and one instance are expected")
        [metric] = body["metrics"]
        spec = metric.get("llm_based_metric_spec", {})
        template = spec.get("metric_prompt_template", "")
        if set(metric) != {"llm_based_metric_spec"} or set(spec) - {"metric_prompt_template", "judge_autorater_config"}:
            return _invalid_argument(f"Unknown metric: {sorted(spec)}")
        if "{prompt}" not in template or "{response}" not in template:
            return _invalid_argument("The template leaves out what is to be rated")
        judge = spec.get("judge_autorater_config", {})
        models = rf"{PARENT}/publishers/google/models/[\w.-]+"
        if set(judge) - {"autorater_model"} or (judge and not re.fullmatch(models, judge["autorater_model"])):
            return _invalid_argument(f"Unknown judge: {judge}")
        instance = body["instance"]
        if set(instance) - {"prompt", "response", "agent_eval_data"} or not _instance_text(instance, "prompt"):
            return _invalid_argument(f"Unknown instance: {sorted(instance)}")
        return None

    def answer(self, request: ReceivedRequest) -> Reply:
        path, _, query = request.path.partition("?")
        if path == "/token":
            return TOKEN_REPLY
        if path.endswith(":evaluateInstances"):
            return self._evaluate(request.body)
        found = PATH_PATTERN.fullmatch(path)
        assert found
        number, part, item = found["id"], found["part"], found["item"]
        if request.method == "PATCH":
            self.datasets[number] |= {name: request.body[name] for name in request.body if name != "name"}
            return Reply(body=self.datasets[number])
        if request.method == "POST":
            return self._create_version(number, request.body) if part else self._create_dataset(request.body)
        if part == "operations":
            return self._poll_operation(item)
        if part == "datasetVersions":
            if item:
                return Reply(body=self.versions[number][item])
            return _page("datasetVersions", list(self.versions[number].values()), query)
        return Reply(body=self.datasets[number]) if number else _page("datasets", list(self.datasets.values()), query)

    def _create_dataset(self, body: dict[str, Any]) -> Reply:
        number = str(4000 + len(self.datasets))
        name = f"{PARENT}/datasets/{number}"
        self.datasets[number] = body | {"name": name, "createTime": _timestamp(len(self.datasets))}
        self.versions[number] = {}
        return self._start_operation(name, name)

    def _create_version(self, number: str, body: dict[str, Any]) -> Reply:
        item = str(1 + len(self.versions[number]))
        dataset = self.datasets[number]
        name = f"{dataset['name']}/datasetVersions/{item}"
        kept = {"metadata": dataset["metadata"], "modelReference": dataset["modelReference"]}
        self.versions[number][item] = body | kept | {"name": name, "createTime": _timestamp(int(item))}
        return self._start_operation(name, dataset["name"])

    def _start_operation(self, made: str, dataset: str) -> Reply:
        number = str(90 + len(self.operations))
        self.operations[number] = {"made": made, "left": self.polls_until_done}
        return Reply(body={"name": f"{dataset}/operations/{number}"})

    def _poll_operation(self, number: str) -> Reply:
        operation = self.operations[number]
        operation["left"] -= 1
        if operation["left"] > 0:
            return Reply(body={"name": number})
        if self.operation_error:
            return Reply(body={"name": number, "done": True, "error": {"code": 9, "message": self.operation_error}})
        return Reply(body={"name": number, "done": True, "response": {"name": operation["made"]}})

    def _evaluate(self, body: dict[str, Any]) -> Reply:
        text = _instance_text(body["instance"], "response")
        score = self.scores.get(text, 3.0)
        if isinstance(score, Reply):
            return score
        return Reply(body={"metricResults": [{"score": score, "explanation": f"Because of {text}."}]})


def _check_dataset(body: Any, update: bool) -> Reply | None:
    needed = {"name", "metadata", "modelReference"} | (set() if update else {"displayName", "metadataSchemaUri"})
    if not isinstance(body, dict) or needed - set(body) or _has_unknown_field(body, DATASET_FIELDS):
        return _invalid_argument(f"Invalid dataset: {sorted(body)}")
    if not update and (body["metadataSchemaUri"] != SCHEMA or body["name"] != PARENT):
        return _invalid_argument("Unknown schema")
    if len(body.get("displayName", "")) > 128:
        return _invalid_argument("Display names have at most 128 characters")
    metadata = body["metadata"]
    schema = metadata.get("prompt_api_schema", {})
    message = schema.get("multimodal_prompt", {}).get("prompt_message", {})
    if _has_unknown_field(metadata, METADATA_FIELDS) or metadata.get("prompt_type") != "multimodal_freeform":
        return _invalid_argument(f"Invalid metadata: {sorted(metadata)}")
    if set(schema) - {"api_schema_version", "multimodal_prompt", "executions"} or _has_unknown_field(
        message, MESSAGE_FIELDS
    ):
        return _invalid_argument(f"Invalid prompt: {sorted(schema)} {sorted(message)}")
    if len(message["contents"]) != 1 or message["model"] != body["modelReference"]:
        return _invalid_argument("One turn and one model are expected")
    config = {to_camel_case(name): value for name, value in message.get("generation_config", {}).items()}
    thinking = {to_camel_case(name): value for name, value in config.get("thinkingConfig", {}).items()}
    if _has_unknown_field(config, GENERATION_FIELDS) or _has_unknown_field(thinking, THINKING_FIELDS):
        return _invalid_argument(f"Invalid configuration: {sorted(config)}")
    for execution in schema.get("executions", ()):
        for value in execution["arguments"].values():
            if [set(part) for part in value["part_list"]["parts"]] != [{"text"}]:
                return _invalid_argument("Invalid execution")
    return None


def _instance_text(instance: dict[str, Any], part: str) -> str:
    [content] = instance[part]["contents"]["contents"]
    [said] = content["parts"]
    return str(said["text"])


def _has_unknown_field(fields: dict[str, Any], known: dict[str, Any]) -> bool:
    return any(
        name not in known or not isinstance(value, known[name]) or (isinstance(value, bool) and known[name] is not bool)
        for name, value in fields.items()
    )


def _page(kind: str, entries: list[dict[str, Any]], query: str) -> Reply:
    """Return a page of one entry, whatever size was requested, because servers may give fewer."""
    start = int(parse_qs(query).get("pageToken", ["0"])[0])
    more = {"nextPageToken": str(start + 1)} if start + 1 < len(entries) else {}
    return Reply(body={kind: entries[start : start + 1]} | more)


def _invalid_argument(message: str) -> Reply:
    return error_reply(400, message, "INVALID_ARGUMENT")


def _timestamp(minute: int) -> str:
    return f"2026-11-25T10:{minute:02}:00Z"
