"""One question a file, each with its command and its figures."""
