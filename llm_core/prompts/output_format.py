"""Describe the form of an answer: any text, one of some strings, or JSON that fits a schema.

Local models are held to it token by token (`samplers.constraints`), hosted ones by the provider's own feature.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from llm_core.errors import NucleusError

if TYPE_CHECKING:
    from llm_core.models.language_model import LanguageModel
    from samplers.constraints import Constraint

OutputKind = Literal["text", "choice", "json"]


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """`choices` belong to `choice`, `schema` (a JSON Schema, as text) to `json`; the others are kept unused."""

    kind: OutputKind = "text"
    choices: tuple[str, ...] = ()
    schema: str = ""

    def validate(self) -> None:
        """Check the choices or the schema. Raises `NucleusError` for empty or repeated choices and for a malformed
        schema."""
        if self.kind == "choice":
            if not self.choices or not all(choice.strip() for choice in self.choices):
                raise NucleusError("choices_empty")
            if len(set(self.choices)) < len(self.choices):
                twice = next(choice for choice in self.choices if self.choices.count(choice) > 1)
                raise NucleusError("choices_repeated", choice=twice)
        elif self.kind == "json":
            self.parse_schema()

    def parse_schema(self) -> dict[str, Any]:
        """Return the schema as an object. Raises `NucleusError` with the line where it stops being JSON."""
        try:
            schema = json.loads(self.schema)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 1)
            raise NucleusError("schema_not_json", line=line, detail=getattr(error, "msg", str(error))) from error
        if not isinstance(schema, dict):
            raise NucleusError("schema_not_object")
        return schema

    def constraint(self, model: LanguageModel) -> Constraint | None:
        """Return the grammar in its first state, for one sample of this model; None for any text.

        Raises `NucleusError` where the schema, the choices or the model's vocabulary cannot be enforced.
        """
        if self.kind == "text":
            return None
        from samplers import constraints

        try:
            if self.kind == "choice":
                return constraints.match_choice(model.vocabulary, self.choices)
            return constraints.match_json_schema(model.vocabulary, self.parse_schema())
        except ValueError as error:
            raise NucleusError("output_not_enforceable", detail=str(error)) from error
