"""The JSON Schema of spec files, for editors.

It describes files, not resolved experiments: a file may omit anything that its bases set, and may contain `extends`,
`expects` and `profiles`, which resolved experiments do not have.
"""

from __future__ import annotations

from typing import Any

from cbalign.experiment.experiment import FORMAT, Experiment

DIALECT = "https://json-schema.org/draft/2020-12/schema"
IDENTIFIER = f"urn:cbalign:experiment:{FORMAT}"

Schema = dict[str, Any]

_VALUES = ("integer", "number", "boolean")

_EXTENDS: Schema = {
    "description": "Base specs: files relative to this one, or recipes.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
}
_REFERENCE: Schema = {
    "description": "The value of an environment variable.",
    "type": "string",
    "pattern": r"^\$\{env:[A-Za-z_][A-Za-z0-9_]*\}$",
}
_EXPECTS: Schema = {
    "description": "Settings of the base when this patch was made; the patch is rejected if they have changed.",
    "$ref": "#/$defs/Overlay",
}
_PROFILES: Schema = {
    "description": "Named overlays, selected by --profile.",
    "type": "object",
    "additionalProperties": {"$ref": "#/$defs/Overlay"},
}


def json_schema() -> Schema:
    """Return the JSON Schema (2020-12) of spec files."""
    schema: Schema = Experiment.model_json_schema(mode="validation")
    kinds = {f"#/$defs/{name}": kind for name, part in schema["$defs"].items() if (kind := _kind(part)) is not None}
    schema = _with_shorthand(schema, kinds)
    definitions = {name: _loosened(part) for name, part in schema.pop("$defs").items()}
    whole = _loosened(schema)
    properties = whole["properties"]
    overlay = {"type": "object", "additionalProperties": False, "properties": properties}
    required = schema["required"]
    return {
        "$schema": DIALECT,
        "$id": IDENTIFIER,
        "title": "cbalign experiment",
        "description": "One YAML file is one experiment.",
        "type": "object",
        "additionalProperties": False,
        "properties": {"extends": _EXTENDS, "expects": _EXPECTS, **properties, "profiles": _PROFILES},
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": required},
        "$defs": {**definitions, "Overlay": overlay, "Reference": _REFERENCE},
    }


def _kind(part: Schema) -> str | None:
    """Return the kind of a section, by convention the only choice of its first setting."""
    first: Schema = next(iter(part.get("properties", {}).values()), {})
    kind = first.get("const")
    return kind if isinstance(kind, str) else None


def _with_shorthand(part: Any, kinds: dict[str, str]) -> Any:
    """Allow the name of a kind in place of a section.

    Args:
        part: a part of a schema.
        kinds: kinds of sections by reference.
    """
    if isinstance(part, list):
        return [_with_shorthand(item, kinds) for item in part]
    if not isinstance(part, dict):
        return part
    if "discriminator" in part and "oneOf" in part:
        rest = {key: value for key, value in part.items() if key not in ("discriminator", "oneOf")}
        return {"anyOf": [{"enum": list(part["discriminator"]["mapping"])}, *part["oneOf"]], **rest}
    if part.get("$ref") in kinds:
        rest = {key: value for key, value in part.items() if key != "$ref"}
        return {"anyOf": [{"enum": [kinds[part["$ref"]]]}, {"$ref": part["$ref"]}], **rest}
    return {key: _with_shorthand(value, kinds) for key, value in part.items()}


def _loosened(part: Any) -> Any:
    """Make settings below the top optional, since a base may set them, and add their effects to the descriptions."""
    if isinstance(part, list):
        return [_loosened(item) for item in part]
    if not isinstance(part, dict):
        return part
    loose: Schema = {}
    for key, value in part.items():
        if key in ("required", "effect", "paper", "path", "switch", "since") and not isinstance(value, dict | bool):
            continue
        if key in ("discriminator", "before", "unordered", "absent"):
            continue
        if key == "prefixItems":
            # Editors support a single item type, and all pairs of the language have one.
            loose["items"] = _loosened(value[0])
        elif key == "properties":
            loose[key] = {name: _property(field) for name, field in value.items()}
        else:
            loose["anyOf" if key == "oneOf" else key] = _loosened(value)
    return loose


def _property(field: Schema) -> Schema:
    sentences = [field.get("description", "")]
    if "paper" in field:
        sentences.append(f"Published: {field['paper']}.")
    if "effect" in field:
        sentences.append(f"Effect: {field['effect']}.")
    loose: Schema = _loosened(field)
    loose.pop("title", None)
    description = " ".join(filter(None, sentences))
    return _or_reference({**loose, "description": description} if description else loose)


def _or_reference(field: Schema) -> Schema:
    """Allow `${env:NAME}` in place of values that are not arbitrary text."""
    outside: Schema = {key: field[key] for key in ("default", "description", "examples") if key in field}
    inside = {key: value for key, value in field.items() if key not in outside}
    choices = inside["anyOf"] if inside.keys() == {"anyOf"} else [inside]
    if not any(choice.get("type") in _VALUES or {"enum", "pattern"} & choice.keys() for choice in choices):
        return field
    return {"anyOf": [*choices, {"$ref": "#/$defs/Reference"}], **outside}
