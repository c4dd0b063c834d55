"""The whole loop in one terminal: broker, fleet, gateways and aggregator as child processes, and a live view."""
