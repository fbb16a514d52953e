"""Settings: one frozen struct per service, read once from the environment.

Each field is read from `TRUNKLINE_<FIELD>`; text is converted to the field's type, and every wrong
value is told at once with the variable's name.
"""

from collections.abc import Mapping
from typing import TypeVar, get_type_hints

import msgspec

from trunkline.contracts import errors

S = TypeVar("S", bound=msgspec.Struct)

PREFIX = "TRUNKLINE_"


class InvalidSettingError(errors.TrunklineError):
    """One or more environment variables cannot be used."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load(kind: type[S], environ: Mapping[str, str]) -> S:
    """Return the settings that the environment holds.

    Raises:
        InvalidSettingError: with every variable that is missing or cannot be converted.
    """
    hints = get_type_hints(kind)
    values: dict[str, object] = {}
    problems: list[str] = []
    for field in msgspec.structs.fields(kind):
        variable = PREFIX + field.name.upper()
        text = environ.get(variable)
        if text is None:
            if field.required:
                problems.append(f"{variable} must be set")
            continue
        try:
            values[field.name] = msgspec.convert(text, hints[field.name], strict=False)
        except msgspec.ValidationError as error:
            problems.append(f"{variable}={text!r}: {error}")
    if problems:
        raise InvalidSettingError(problems)
    return kind(**values)
