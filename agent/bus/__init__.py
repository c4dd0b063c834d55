"""Everything on a wire with meters: frames, lines, who is asked when, what their words mean, what a device is told."""
