"""The pairwise human study. Imports `data`, `eval.statistics` and `benchmarks.records`; needs no torch."""
