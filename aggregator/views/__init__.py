"""What the chains say, made visible: explanations, certificates and pictures. Reads a ledger; never writes to one."""
