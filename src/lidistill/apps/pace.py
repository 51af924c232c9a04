"""How fast a network works, beside how fast its lidar delivers."""

from __future__ import annotations

from lidistill.sensing.frame import Sensor


def pace(seconds: float, scans: int, sensor: Sensor) -> str:
    """Milliseconds per scan and Hz beside the rate of ``sensor``; ``seconds`` are for everything, reading included."""
    each = seconds / scans
    text = f"{scans} scans, {1000 * each:.0f} ms per scan = {1 / each:.1f} Hz"
    if sensor.rate:
        verdict = "keeps up" if each <= 1 / sensor.rate else f"{each * sensor.rate:.1f} times too slow for live use"
        text += f"; the sensor {sensor.name} delivers {sensor.rate:g} Hz: {verdict}"
    return text
