"""The study of all explanation methods on the same models, photos and numbers of evaluations."""
