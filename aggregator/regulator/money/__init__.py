"""What tokens are worth in money, what is owed, and the files by which a bank moves it."""
