"""What the house gets to see: Home Assistant and Prometheus. Trouble there is trouble there alone."""
