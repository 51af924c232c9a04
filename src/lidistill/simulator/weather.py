"""Light and air of a scene: sun, sky, clouds, haze, rain and dusk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lidistill.simulator.textures import F32, noise


@dataclass(frozen=True, eq=False)
class Weather:
    """Radiances are linear, 1 = a white wall in full sun.

    ``sun`` (3,) unit vector towards it; ``sunlight``, ``zenith``, ``horizon`` (3,) colours; ``clouds`` share of the
    sky; ``haze`` per metre; ``wet`` and ``dark`` in [0, 1].
    """

    name: str
    sun: F32
    sunlight: F32
    zenith: F32
    horizon: F32
    clouds: float
    haze: float
    wet: float
    dark: float
    exposure: float

    def sky(self, directions: F32) -> F32:
        """Colour of the sky along unit vectors (N, 3)."""
        up = np.maximum(directions[:, 2], np.float32(0.0))
        height = np.sqrt(up)[:, None]
        color = self.horizon * (1 - height) + self.zenith * height
        reach = 1 / (up + np.float32(0.08))
        across = np.asarray(directions[:, :2] * reach[:, None] + 40, np.float32)
        puff = noise(across[:, 0], across[:, 1], 45)
        cover = np.clip((puff + np.float32(4 * self.clouds - 2)) * np.float32(0.9), 0, 1) * np.clip(up * 9, 0, 1)
        bright = np.float32(0.85) * (self.horizon.max() + 0.25 * self.sunlight.max())
        shade = bright * (1 - 0.12 * np.clip(puff, -1, 2))[:, None]
        color = color + (shade * np.float32(1 - 0.4 * self.wet) - color) * cover[:, None] * np.float32(0.85)
        toward = np.maximum(directions @ self.sun, 0)
        halo = (np.float32(0.5) * toward**32 + 6 * (toward > 0.9995)) * (1 - cover * 0.9)
        return np.asarray(color + halo[:, None] * self.sunlight, np.float32)


def draw(rng: np.random.Generator) -> Weather:
    """Draw the weather of one scene."""
    kind = str(
        rng.choice(["sunny", "low-sun", "overcast", "rain", "fog", "dusk"], p=(0.36, 0.16, 0.22, 0.1, 0.08, 0.08))
    )
    azimuth = rng.uniform(0, 2 * np.pi)
    lowest, highest = {"low-sun": (10, 22), "dusk": (1, 4)}.get(kind, (28, 62))
    elevation = np.radians(rng.uniform(lowest, highest))
    sun = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
    *radiance, clouds, haze, exposure = {
        "sunny": ((1.25, 1.15, 1.0), (0.20, 0.34, 0.62), (0.60, 0.68, 0.78), rng.uniform(0.1, 0.55), 0.0010, 0.85),
        "low-sun": ((1.3, 0.85, 0.45), (0.18, 0.28, 0.50), (0.72, 0.60, 0.48), rng.uniform(0.1, 0.5), 0.0018, 1.0),
        "overcast": ((0.0, 0.0, 0.0), (0.52, 0.55, 0.60), (0.66, 0.68, 0.70), 0.9, 0.0018, 1.25),
        "rain": ((0.0, 0.0, 0.0), (0.26, 0.28, 0.31), (0.36, 0.38, 0.40), 0.95, 0.005, 2.0),
        "fog": ((0.0, 0.0, 0.0), (0.60, 0.61, 0.62), (0.62, 0.63, 0.64), 0.5, rng.uniform(0.012, 0.024), 1.25),
        "dusk": ((0.05, 0.03, 0.02), (0.06, 0.08, 0.16), (0.20, 0.15, 0.15), rng.uniform(0.1, 0.6), 0.002, 3.0),
    }[kind]
    tint = 1 + rng.normal(0, 0.03, 3)
    sunlight, zenith, horizon = np.asarray(radiance * tint, np.float32)
    return Weather(
        name=kind,
        sun=np.array(sun, np.float32),
        sunlight=sunlight,
        zenith=zenith,
        horizon=horizon,
        clouds=float(clouds),
        haze=float(haze),
        wet=float(kind == "rain"),
        dark=float(kind == "dusk"),
        exposure=float(exposure * rng.uniform(0.85, 1.15)),
    )
