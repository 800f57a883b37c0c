"""Environment-side parts: normalization of observations, rewards, actions and images."""
