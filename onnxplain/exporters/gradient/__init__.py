"""Reverse-mode differentiation: the walk over the graph, the start at one logit, and one rule per operator."""
