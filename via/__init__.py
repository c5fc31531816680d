"""The method: VIA, every equation one function. Imports `data` only.

Doors: `via.edit` (the whole method), `via.config` (every decision a field), `via.backbones` (image editors).
"""
