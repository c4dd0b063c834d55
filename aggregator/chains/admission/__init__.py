"""Who may sign, and what a region begins with."""
