"""The metrics, one a file, and the statistics of every table. Imports `data` only."""
