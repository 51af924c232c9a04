"""lidistill: teach a lidar network what image foundation models know, without labels."""

__version__ = "0.1.0.dev0"
