"""Around a run: configuration, training, evaluation, comparison, results."""
