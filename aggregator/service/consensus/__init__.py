"""A node among several: what the ledger answers when CometBFT asks, and what runs the pair of them."""
