"""Reverse-mode differentiation: the walk over the graph, where a logit's gradient begins, one rule per operator."""
