"""The market: quotes meet as they come or in a call auction, within what the network carries. Integers only."""
