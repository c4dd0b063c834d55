"""The five chains: what each accepts, what it remembers, and what must always hold."""
