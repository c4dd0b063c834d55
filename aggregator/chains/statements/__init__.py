"""What gateways are told of how they stand."""
