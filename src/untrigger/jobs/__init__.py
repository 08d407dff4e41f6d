"""What the commands do, as functions: load, work, write, and say what was found."""
