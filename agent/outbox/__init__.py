"""What must survive: readings and records on disk, in order, until their receipt."""
