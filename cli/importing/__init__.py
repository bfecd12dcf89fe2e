"""`tally import`: what is sent, what was acknowledged, what was refused."""
