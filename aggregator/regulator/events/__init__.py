"""Calling participants to relieve a line, taking that back, and who is called."""
