"""The pocket editor: an InstructPix2Pix U-Net with an MGIE edit head, small enough to be committed.

Doors: `backbone.load()` (the editor VIA adapts), `masker.load()` (text to mask), `commands` (train and check
the models).
"""
