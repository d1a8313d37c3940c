"""What a policy's own probabilities, and its attention, say of its reasoning."""
