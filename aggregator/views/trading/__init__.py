"""The market as people see it: what stands, what was traded at which price, and what became of a quote."""
