"""What an operator may choose: typed, bounded, checked when it is built, frozen afterwards."""
