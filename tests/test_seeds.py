"""Random streams: children of one seed, one for each purpose."""

import numpy as np

from taskhead.method.seeds import PURPOSES, stream


def test_streams_are_the_children_that_numpy_spawns():
    children = np.random.SeedSequence(7).spawn(len(PURPOSES))
    spawned = [int(child.generate_state(1)[0]) for child in children]
    assert [stream(7, purpose) for purpose in PURPOSES] == spawned


def test_no_two_seeds_or_purposes_share_a_stream():
    streams = {stream(seed, purpose) for seed in range(100) for purpose in PURPOSES}
    assert len(streams) == 100 * len(PURPOSES)
    assert all(0 <= each < 2**32 for each in streams)
