"""Values as Grafana writes them: in a unit, short, and by colours that have names there."""

import math

BACK, PANEL, BORDER, TEXT, FAINT = "#111217", "#181b1f", "#2c3037", "#d8d9e3", "#9a9ba8"
NAMED = {
    "green": "#73bf69",
    "orange": "#ff9830",
    "red": "#f2495c",
    "blue": "#5794f2",
    "purple": "#b877d9",
    "yellow": "#fade2a",
}
PALETTE = (
    "#73bf69",
    "#fade2a",
    "#5794f2",
    "#ff9830",
    "#f2495c",
    "#b877d9",
    "#8ab8ff",
    "#c0d8ff",
    "#96d98d",
    "#ffb357",
)

_SECONDS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
_BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_CLOCK = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_SHORT = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"), (1, ""))


def colour(name: str) -> str:
    """Return the code of one of Grafana's colours."""
    return NAMED.get(name, name)


def told(value: float, unit: str) -> str:
    """Return a value in its unit, with three digits or so."""
    if math.isnan(value) or math.isinf(value):
        return "-"
    match unit:
        case "s":
            return _scaled(value, _SECONDS, " ")
        case "bytes":
            return _scaled(value, _BYTES, " ")
        case "Bps":
            return _scaled(value, _BYTES, " ") + "/s"
        case "percentunit":
            return f"{_digits(100 * value)} %"
        case _ if unit.startswith("suffix:"):
            return _digits(value) + unit.removeprefix("suffix:")
        case _:
            return _scaled(value, _SHORT, "")


def ticks(top: float, unit: str, count: int = 4) -> list[float]:
    """Return round values from 0 to beyond the top; what is round depends on the unit."""
    if top <= 0 or not math.isfinite(top):
        top = 1.0
    step = _round(top / count, unit)
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


def _round(step: float, unit: str) -> float:
    """Return the least round value that is not less."""
    if unit in ("bytes", "Bps"):
        return 2.0 ** math.ceil(math.log2(max(step, 1.0)))
    if unit == "s" and step > 10:
        return next((each for each in _CLOCK if each >= step), 86400.0 * math.ceil(step / 86400))
    if unit == "short" and step < 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * each for each in (1, 2, 5, 10) if power * each >= step * 0.999)


def _scaled(value: float, scale: tuple[tuple[float, str], ...], between: str) -> str:
    if value == 0:
        return "0"
    size = abs(value)
    factor, name = next(((f, n) for f, n in scale if size >= f * 0.9995), scale[-1])
    return f"{_digits(value / factor)}{between}{name}"


def _digits(value: float) -> str:
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
