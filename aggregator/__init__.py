"""The node that keeps the chains: it verifies, orders, works out and answers, and can prove all of it."""
