"""Who orders blocks: one node by itself (local), or many by consensus. The ledger is the same under each."""
