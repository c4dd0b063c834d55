"""From signed readings to the energy of every interval, in time and late."""
