"""How the detector of the demo is made: a small network of YOLO's form, trained on generated images of digits."""
