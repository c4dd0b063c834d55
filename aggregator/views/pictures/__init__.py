"""Pictures of a ledger: the network, an origin, a branch, a region. Same ledger, same bytes; no display is needed."""
