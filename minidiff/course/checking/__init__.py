"""The definition of an exercise, the observation of a function on its cases, and the verdict."""
