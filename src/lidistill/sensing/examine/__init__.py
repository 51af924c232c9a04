"""Examinations of what a rig recorded: is the scan plausible, does the calibration fit the pictures."""
