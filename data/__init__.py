"""What is edited: clips, edits, tasks and suites. Imports nothing else of this project, and no torch.

Doors: `data.types` (Clip, Edit, Task, Editor), `data.video` (read and write), `data.pocket` (scenes with
answers).
"""
