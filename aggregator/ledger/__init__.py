"""What a chain is: logs, state, blocks and proofs. Knows records and digests, never energy."""
