"""The loop: plan, train, checkpoint, events."""
