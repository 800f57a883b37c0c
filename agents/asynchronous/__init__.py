"""The engine of the asynchronous methods: shared memory, the worker's loop, supervision, events, environment copies.

The only place that knows about processes. An algorithm brings a recipe for a learner (its acting rule and its loss,
see :mod:`agents.asynchronous.learner`); everything else is here.
"""
