"""What was found, shown: words, a table in the terminal, a page to forward."""
