"""Write the JSON Schema of recipes for editors and other programs: `docs/recipe.schema.json`, which a test keeps
current.

`python -m llm_core.recipes.json_schema` writes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_core.recipes.recipe import Recipe
from samplers import ORDERS, SETTINGS, STAGE_NAMES

SCHEMA_FILE = "docs/recipe.schema.json"


def make_recipe_schema() -> dict[str, Any]:
    """Return the schema of what `Recipe.read` takes, as far as JSON Schema can say it. Draft 2020-12."""
    schema = Recipe.model_json_schema(mode="validation")
    for part in (schema, *schema["$defs"].values()):
        if "properties" in part:
            part["additionalProperties"] = False
        part.pop("title", None)
        for field in part.get("properties", {}).values():
            field.pop("title", None)
    schema["required"] = ["schema_version", "prompt"]
    schema["$defs"]["SamplerConfig"]["properties"] = _describe_settings(schema["$defs"]["SamplerConfig"]["properties"])
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Nucleus recipe"}
    return json.loads(json.dumps(head | schema))


def _describe_settings(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a sampler's settings, with their ranges."""
    del fields["seed"]  # stands in `seeds`
    for name, setting in SETTINGS.items():
        if name not in fields:
            continue
        field: dict[str, Any] = {"type": "integer" if setting.whole else "number", "default": setting.default}
        field["exclusiveMinimum" if setting.open_low else "minimum"] = setting.low
        if setting.high < float("inf"):
            field["exclusiveMaximum" if setting.open_high else "maximum"] = setting.high
        fields[name] = field
    stages = {"type": "array", "items": {"enum": list(STAGE_NAMES)}, "uniqueItems": True}
    fields["order"] = {"anyOf": [{"enum": list(ORDERS)}, stages], "default": "huggingface"}
    bias = {"type": "object", "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100}}
    fields["logit_bias"] = bias | {"description": "By token id.", "propertyNames": {"pattern": "^[0-9]+$"}}
    return fields


def main() -> None:
    text = json.dumps(make_recipe_schema(), ensure_ascii=False, indent=1)
    Path(SCHEMA_FILE).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
