"""Physics: topology, power flow, tracing. The only room where energy is a float, and nothing leaves it but integers."""
