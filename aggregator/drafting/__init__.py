"""Commands around grid files, before a region is founded on one."""
