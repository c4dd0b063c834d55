"""The ledger for everybody else: audited, exported, published."""
