"""The evaluation of clips: the scoreboard and the measurements it is made of."""
