"""Class lists and the maps between them, as data files with a checksum."""

from lidistill.taxonomy.taxonomy import Taxonomy, from_names, load, names, raw_names, sources

__all__ = ["Taxonomy", "from_names", "load", "names", "raw_names", "sources"]
