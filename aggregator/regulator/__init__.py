"""The regulator's commands: who may sign in a region, from founding on."""
