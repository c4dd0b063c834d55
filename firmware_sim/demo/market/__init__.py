"""The market's story: quotes, a contract that a line refuses, one that is breached, and who goes first when it is full."""
