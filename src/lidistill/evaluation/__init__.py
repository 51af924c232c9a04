"""From confusion to cards, tables and pictures: how good a network is, and what it looks like."""
