"""A cache with room holds what transformers' own does, and writes new positions in place."""

from __future__ import annotations

import torch
from transformers import DynamicCache

from untrigger.models.roomy_cache import ROOM, RoomyCache, compacted

GENERATOR = torch.Generator().manual_seed(3)


def states(rows, positions):
    return torch.randn(rows, 2, positions, 4, generator=GENERATOR)


def both_updated(caches, rows, positions):
    keys, values = states(rows, positions), states(rows, positions)
    found = [cache.update(keys, values, layer) for cache in caches for layer in (0, 1)]
    for ours, theirs in zip(found[:2], found[2:], strict=True):
        assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_it_holds_what_the_plain_cache_does_through_growing_selecting_repeating_and_cropping():
    caches = RoomyCache(), DynamicCache()
    both_updated(caches, 3, 5)
    for _ in range(2 * ROOM + 3):
        both_updated(caches, 3, 1)
    for rows in ([0, 2], [1, 0]):  # one from behind in place of another; another order
        for cache in caches:
            cache.batch_select_indices(torch.tensor(rows))
        both_updated(caches, 2, 1)
    for cache in caches:
        cache.batch_repeat_interleave(2)
    both_updated(caches, 4, ROOM + 2)
    for cache in caches:
        cache.crop(-3)
    both_updated(caches, 4, 1)
    assert caches[0].get_seq_length() == caches[1].get_seq_length()


def test_a_step_is_written_in_place_while_there_is_room():
    cache = RoomyCache()
    first, _ = cache.update(states(2, 5), states(2, 5), 0)
    places = {cache.update(states(2, 1), states(2, 1), 0)[0].data_ptr() for _ in range(ROOM)}
    assert places == {first.data_ptr()}
    later, _ = cache.update(states(2, 1), states(2, 1), 0)
    assert later.data_ptr() != first.data_ptr()


def test_a_prefix_is_repeated_and_stays_what_it_was():
    prefix = DynamicCache()
    keys, values = states(1, 6), states(1, 6)
    prefix.update(keys.clone(), values.clone(), 0)
    made = RoomyCache.repeated(prefix, 3)
    grown, _ = made.update(states(3, 2), states(3, 2), 0)
    assert torch.equal(grown[:, :, :6], keys.expand(3, -1, -1, -1))
    assert torch.equal(prefix.layers[0].keys, keys) and torch.equal(prefix.layers[0].values, values)
    assert RoomyCache.repeated(DynamicCache(), 3).get_seq_length() == 0


def test_rows_from_behind_take_the_places_of_those_that_end():
    assert compacted([True, True]) == [0, 1]
    assert compacted([True, False, True, False, False, True, True]) == [0, 6, 2, 5]
    assert compacted([False, False, True]) == [2]
    assert compacted([True, True, False]) == [0, 1]


def test_rows_that_stay_are_not_copied():
    cache, rows = RoomyCache(), states(5, 4)
    before, _ = cache.update(rows.clone(), rows.clone(), 0)
    cache.batch_select_indices(torch.tensor(compacted([True, False, True, True, True])))
    layer = cache.layers[0]
    assert layer.keys.data_ptr() == before.data_ptr()
    assert torch.equal(layer.keys, rows[[0, 4, 2, 3]]) and torch.equal(layer.values, rows[[0, 4, 2, 3]])
    grown, _ = cache.update(states(4, 1), states(4, 1), 0)
    assert grown.data_ptr() == before.data_ptr() and grown.shape[:3] == (4, 2, 5)
