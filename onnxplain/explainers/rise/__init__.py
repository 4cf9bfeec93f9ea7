"""RISE: scores under random masks, for any model of which scores can be had."""
