"""Offers between participants: written, sealed, weighed, answered and agreed on."""
