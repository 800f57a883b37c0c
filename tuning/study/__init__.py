"""Optuna studies whose winners reproduce: search, race, test."""
