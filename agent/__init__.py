"""The gateway in a cellar: reads meters, signs what they show, keeps it until its receipt, and applies rights."""
