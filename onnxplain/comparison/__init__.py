"""Two files of one model: how far their answers and maps drift apart."""
