"""Data sets: one short module each, every one a row of Frames."""
