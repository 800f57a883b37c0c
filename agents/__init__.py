"""Reinforcement-learning agents behind one interface."""
