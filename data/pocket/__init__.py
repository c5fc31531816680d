"""The pocket world: drawn scenes whose every edit has all its valid answers and its mask known to the pixel.

Doors: `scenes` (render a scene and its answers), `words` (instructions, captions, tokens), `training`
(pairs).
"""

RULES = 1  # version of the rules that scenes are drawn by; raised when any frame of any suite would change
