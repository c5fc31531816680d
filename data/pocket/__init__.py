"""The pocket world: drawn scenes whose every edit has all its valid answers, and whose masks are known to the pixel.

Doors: `scenes` (render a scene and its answers), `words` (instructions, captions, tokens), `training` (the sampler).
"""
