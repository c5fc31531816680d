"""The commented study file that `via study new STUDY.yaml --template` writes."""

TEMPLATE = """\
# A study file. Every line but `about` has a default; delete what you do not change.
name: my-study
seed: 0                 # of the shuffling; recorded, and the final order of every session is stored
design: star            # star: ours against each baseline; round_robin: all pairs
# ours: via             # centre of the star; by default the first method of the first run
# methods: [via, tokenflow]   # by default every method of the runs but the source
source: copy            # the method of the runs whose video is the unedited source
votes: 5                # judgements of each clip and pair; `via study power` helps to choose
# clips: 80             # by default as many as fit
# session_length: 20    # a multiple of twice the number of pairs
checks: [identical, degraded, degraded, repeat, instructed]
training: 2
both_fail: false        # offer "both fail" as a fourth answer, counted as a tie and printed apart
tie_means: no clear difference
repeat: false           # may one participant do several sessions?

# What the data cannot tell and every reader asks. The methods paragraph needs all four.
about:
  raters: ""            # who they were and where you found them
  payment: ""
  told: ""              # what they were told of the purpose
  viewing: ""           # for example: own computers, not controlled

# Rules for leaving a rater out. They become part of the study's hash: write them now, not after looking.
exclusions:
  failed_checks: 2                      # of the instructed and degraded checks
  median_seconds_per_clip_second: 1.3
  one_side_share: 0.85
  one_side_decisive: 20
  never_used_tasks: 40                  # a flag only
"""
