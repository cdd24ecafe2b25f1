"""What every program needs: files, seeds, precision, several processes, an optimiser."""
