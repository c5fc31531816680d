"""Training the pocket models: `loop.train(name)` runs one of the tasks of `TASKS`, and resumes where it
stopped."""

TASKS = {
    "vae": "via.backbones.pocket.training.vae:VAETraining",
    "editor": "via.backbones.pocket.training.editor:EditorTraining",
    "mask": "via.backbones.pocket.training.mask:MaskTraining",
    "clip": "via.backbones.pocket.training.clip:ClipTraining",
}
