"""The assets: each reads its days, calls one step, and tells what came of it."""
