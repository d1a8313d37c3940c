"""Which heads a policy's answers go through, how they come and go over a run, and what becomes of it without them."""
