"""Specs as users write them, and what is said when they are not taken."""

from typing import Any

import pytest

from trunkline.contracts import errors, spec_parsing

GOOD: dict[str, Any] = {
    "pipeline": {"name": "words"},
    "transform": {"cmd": ["python3", "count.py"]},
    "input": {"pfs": {"repo": "texts", "glob": "/*"}},
}


def changed(**fields: Any) -> dict[str, Any]:
    """Return a good spec with other fields."""
    return {**GOOD, **fields}


def transform(**fields: Any) -> dict[str, Any]:
    """Return a good spec with more in its transform."""
    return changed(transform={**GOOD["transform"], **fields})


def pfs(**fields: Any) -> dict[str, Any]:
    """Return a good input with more in it."""
    keyed = "join_on" in fields or "group_by" in fields
    return {"pfs": {"repo": "texts", "glob": "/(?)(*)" if keyed else "/*", **fields}}


def refused(document: object) -> dict[str, str]:
    """Return the problems, by path, of a document or a text that is not taken."""
    text = document.encode() if isinstance(document, str) else document
    with pytest.raises(errors.InvalidSpecError) as caught:
        spec_parsing.parse(text) if isinstance(text, bytes) else spec_parsing.convert(text)
    return dict(caught.value.problems)
