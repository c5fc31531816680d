"""Other methods behind the signature of `data.types.Editor`. Imports `via` and `data`."""
