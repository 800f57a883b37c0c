"""Populations of runs that copy the best of them and change their hyperparameters while they train."""
