"""Quotes for the region's market, ordered at this gateway."""
