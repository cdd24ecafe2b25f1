"""Building, checking and releasing the chapters."""
