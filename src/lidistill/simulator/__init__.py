"""The synthetic city: a seeded procedural street, four sensor rigs, and an ordinary rig folder with exact labels."""

from lidistill.simulator.scene import Scene, SimulatedFrame, render, scene, simulate_frame
from lidistill.simulator.simulate import simulate

__all__ = ["Scene", "SimulatedFrame", "render", "scene", "simulate", "simulate_frame"]
