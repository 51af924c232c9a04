"""Segmenters cut pictures into superpixels, once per data set, for the objectives that compare pieces."""
