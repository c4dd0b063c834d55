"""Everybody's tokens, money and rights, and what participants order with them."""
