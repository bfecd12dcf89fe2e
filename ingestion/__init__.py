"""Events in, rows out: what an event is, how bytes become events, and the write that acknowledges."""
