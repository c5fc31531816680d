"""The pairwise human study. Imports `data`, `eval.statistics` and `benchmarks.records`; needs no torch.

Doors: `new.new_study` (from a run), `serve.application`, the `export_*` modules, `import_.import_files`,
`report.make_report`; `commands.app` is `via study`.
"""
