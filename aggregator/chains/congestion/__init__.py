"""Lines that carry too much: who is called, who helped, and who is limited."""
