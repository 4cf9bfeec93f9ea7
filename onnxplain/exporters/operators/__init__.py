"""What is known of each operator: what it is made of, how its window moves, what its integers stand for."""
