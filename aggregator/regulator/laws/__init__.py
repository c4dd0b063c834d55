"""What the regulator lays down anew: rules and permits."""
