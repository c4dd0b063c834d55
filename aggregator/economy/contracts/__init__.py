"""What becomes of a contract: its states, whether it can be, and what it costs. Integers only."""
