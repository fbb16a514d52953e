"""Names of ours as Kubernetes will have them: lower case, no underscore, a letter or digit at both ends.

A name that is one already stays as it is. Another gets sixteen digits of its hash behind it, so two names
that differ in case only do not meet. Nor does one that was chosen to meet another's: a name that looks as if it had
such digits gets its own. The true name stands in an annotation.
"""

import hashlib
import re

CREDS_KEY, WARD_KEY = "worker.creds", "ward"
"""Of the Secret that `credentials_name` names."""

_OBJECT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_OTHER = re.compile(r"[^a-z0-9-]")
_DIGITS = 16
_KEPT = 63 - 1 - _DIGITS
_DIGESTED = re.compile(rf".*-[0-9a-f]{{{_DIGITS}}}")


def object_name(name: str) -> str:
    """Return the name of an object: 63 characters at most, good as a host name, too."""
    return name if _plain(name, _OBJECT) else _mapped(name)


def label_value(name: str) -> str:
    """Return what a label says where this is meant."""
    return name if _plain(name, _LABEL) else _mapped(name)


def owner_name(pipeline: str) -> str:
    """Return the name of the ConfigMap that owns all objects of a pipeline."""
    return object_name(f"trunkline-{pipeline}")


def credentials_name(pipeline: str) -> str:
    """Return the name of the Secret that holds what a pipeline's workers log in with."""
    return f"{owner_name(pipeline)}-worker-creds"


def _plain(name: str, form: re.Pattern[str]) -> bool:
    return bool(form.fullmatch(name)) and not _DIGESTED.fullmatch(name)


def _mapped(name: str) -> str:
    digits = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    plain = _OTHER.sub("-", name.lower())[:_KEPT].strip("-")
    return f"{plain}-{digits}" if plain else f"x-{digits}"
