"""Asynchronous value methods (Mnih et al. 2016): one-step Q-learning, one-step Sarsa, n-step Q-learning."""

from agents.async_q.algorithms import AsyncNStepQ, AsyncQLearning, AsyncSarsa

__all__ = ["AsyncNStepQ", "AsyncQLearning", "AsyncSarsa"]
