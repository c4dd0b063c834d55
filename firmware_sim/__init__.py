"""Simulated meters: a region that lives from one seed, and serves its registers over Modbus TCP as real meters do."""
