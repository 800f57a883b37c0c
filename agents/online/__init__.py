"""What the agents share that learn beside a running environment, from the stream of a behavior policy."""
