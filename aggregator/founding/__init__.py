"""How a region begins, and how a node joins one: what is written once into an empty folder."""
