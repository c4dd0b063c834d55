"""Contracts between participants: agreed, judged, confirmed, delivered, settled."""
