"""What starts by itself, and the jobs that it starts."""
