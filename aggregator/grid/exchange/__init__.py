"""A region's power lines, to and from the files of other programs. Plain data in, plain data out; no other library."""
