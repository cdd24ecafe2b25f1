"""How clips are judged: the scoreboard and everything it measures with."""
