"""IO around the ledger: store, broker, verification in threads, the compute node, answers to questions."""
