"""What compute nodes say about an interval, what it rests on, and what it leaves behind."""
