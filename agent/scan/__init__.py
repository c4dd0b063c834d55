"""Finding meters: who answers on a bus, on which hosts of a network, and which profile fits."""
