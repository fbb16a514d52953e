"""Read a text of JSON or YAML that anybody may have sent, in bounded time and memory.

JSON is tried first. YAML is read by the safe loader only, without aliases (a few lines of them make
gigabytes), without tags (`!!timestamp x` makes the loader stumble) and without deep nesting (its C
code recurses).
"""

from typing import Any, NoReturn

import msgspec
import yaml

from trunkline.contracts import errors

SPEC_MAX_BYTES = 512 * 1024
"""512 KiB hold any spec that a person writes, and fit into a NATS message."""

YAML_MAX_BYTES = 128 * 1024
"""YAML is read some hundred times slower than JSON."""

_MAX_DEPTH = 50

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def load(data: bytes) -> Any:  # noqa: ANN401 - any document may come in
    """Return the document in a text of JSON or YAML, or raise InvalidSpecError saying why not."""
    if len(data) > SPEC_MAX_BYTES:
        _refuse(f"it has over {SPEC_MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        not_json = str(error)
    except RecursionError:
        _refuse("it is nested too deeply")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        _refuse("it is neither JSON nor YAML: it is not UTF-8")
    document = _yaml(text, not_json)
    if not isinstance(document, (dict, list)):
        _refuse("it is neither a JSON nor a YAML object")
    return document


def _yaml(text: str, not_json: str) -> Any:  # noqa: ANN401 - see `load`
    looks_like_json = text.lstrip().startswith(("{", "["))
    if len(text) > YAML_MAX_BYTES:
        why = f"it is no JSON ({not_json}), and over {YAML_MAX_BYTES} bytes, too long for YAML"
        _refuse(why)
    try:
        _check_tokens(text)
        return yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        reason = not_json if looks_like_json else " ".join(str(error).split())
        kind = "no JSON" if looks_like_json else "neither JSON nor YAML"
        _refuse(f"it is {kind}: {reason}")


def _check_tokens(text: str) -> None:
    depth = 0
    for token in yaml.scan(text, Loader=_LOADER):
        if isinstance(token, yaml.AliasToken):
            _refuse("YAML aliases are not allowed")
        if isinstance(token, yaml.TagToken):
            _refuse("YAML tags are not allowed; quote what is text")
        depth += isinstance(token, _OPENING)
        depth -= isinstance(token, _CLOSING)
        if depth > _MAX_DEPTH:
            _refuse(f"it is nested deeper than {_MAX_DEPTH} levels")


def _refuse(reason: str) -> NoReturn:
    raise errors.InvalidSpecError([("$", reason)]) from None
