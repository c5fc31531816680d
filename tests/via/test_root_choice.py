"""The root frame and its edit: drawn where the subject is, chosen by agreement and preservation."""

import torch

from via.root import root_frame, scores


def draw(areas, frames, seed):
    return root_frame(areas, frames, torch.Generator().manual_seed(seed))


def test_the_root_frame_is_drawn_from_the_whole_clip():
    assert {draw(None, 5, seed) for seed in range(60)} == set(range(5))


def test_a_frame_where_the_subject_is_gone_or_small_is_never_the_root():
    areas = [0, 0, 0, 1, 9, 10, 11, 10]
    assert {draw(areas, 8, seed) for seed in range(80)} == {4, 5, 6, 7}


def test_the_medoid_wins_over_an_outlier_and_over_the_mean():
    source = torch.zeros(3, 4, 4)
    candidates = torch.stack([torch.full((3, 4, 4), value) for value in (0.9, 0.5, 0.52, 0.48, 0.0)])
    assert scores(candidates, source, None).best == 1  # 0.48 is the mean
    distances = [abs(0.5 - value) for value in (0.9, 0.52, 0.48, 0.0)]
    assert float(scores(candidates, source, None).agreement[1]) + sum(distances) / 4 < 1e-6


def test_agreement_counts_inside_the_region_and_preservation_outside():
    source = torch.zeros(3, 2, 2)
    region = torch.tensor([[True, False], [True, False]])[None]
    candidates = torch.full((3, 3, 2, 2), 0.5)
    candidates[1, :, :, 1] = 0.0  # leaves the outside as it was
    candidates[2, :, :, 1] = 1.0
    scored = scores(candidates, source, region)
    assert scored.agreement.abs().max() < 1e-6
    assert scored.preservation.tolist() == [-0.5, 0.0, -1.0]
    assert scored.best == 1


def test_instruction_following_counts_where_somebody_can_tell():
    candidates = torch.rand(3, 3, 4, 4)
    assert scores(candidates, torch.rand(3, 4, 4), None, torch.tensor([0.0, 0.0, 9.0])).best == 2


def test_a_single_candidate_is_the_choice():
    assert scores(torch.rand(1, 3, 4, 4), torch.rand(3, 4, 4), None).best == 0
