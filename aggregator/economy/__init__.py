"""Factors, tokens, accounts and rights: pure, exact, integers and decimals only."""
