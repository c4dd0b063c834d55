"""Quotes that meet on the chain, and the clearing of call auctions."""
