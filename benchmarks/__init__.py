"""What este costs, measured: each figure as a ratio to its limit, or to a peer in the same run."""
