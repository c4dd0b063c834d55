"""The market's story: quotes, a contract that a line refuses, one that is broken, and who goes first in the cold."""
