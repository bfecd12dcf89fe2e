"""The sums of Tallyhouse: usage and price in, lines and totals out. Pure: no I/O, no clock, no float, stdlib only."""
