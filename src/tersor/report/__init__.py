"""What was done and what it brought, for the terminal, for programs and as a page."""
