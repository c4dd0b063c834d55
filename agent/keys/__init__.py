"""What a gateway signs with, and how it comes to be admitted with it."""
