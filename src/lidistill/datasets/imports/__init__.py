"""Recordings and calibrations made by other software, brought into a rig folder."""
