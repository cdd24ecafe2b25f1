"""One question a file, with its command. A new benchmark goes here; its figures into README.md."""
