"""What can write a turn: the `Backend` protocol and its kinds.

Concrete kinds are chosen at the edge (`agentflow.model`); importing this package imports none of them.
"""
