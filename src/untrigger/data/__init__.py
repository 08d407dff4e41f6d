"""Records, chat formats and where records come from."""
