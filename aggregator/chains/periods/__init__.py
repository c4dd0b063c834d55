"""What intervals add up to in a settlement period, and what a restatement makes of it."""
