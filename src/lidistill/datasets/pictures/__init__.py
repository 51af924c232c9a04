"""Pictures with classes and no scans: 2D sources."""
