"""What samples the answers a policy learns from: one file a generator (``objective.generator``).

Such a file has ``start(policy, recipe, *, precision, longest)``, which gives a ``Generator``.
"""
