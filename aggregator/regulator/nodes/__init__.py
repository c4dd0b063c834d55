"""Aggregators at the regulator's desk: who is one, who has a vote, and how much it weighs."""
