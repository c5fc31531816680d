"""Runs on disk, ablations, reports. Imports `data`, `via`, `baselines` and `eval`."""
