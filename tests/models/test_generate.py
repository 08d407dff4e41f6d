"""Sampling; that greedy batches equal single prompts and the library's own generation is in test_forward.py."""

from __future__ import annotations

import pytest
import torch

from tiny import tiny_model, tiny_tokenizer
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.models.generate import Generation, answer_prompts, generate_answers
from untrigger.models.sampling import Sampling, draw


@pytest.fixture
def chat():
    return ChatFormat(tiny_tokenizer())


def prompts(chat):
    return [chat.conversation_ids((text,)) for text in ("Say it.", "A longer question about things?", "x")]


def test_draws_follow_the_distribution():
    weights = torch.tensor([0.0, 0.2, 0.5, 0.0, 0.3])
    numbers = (torch.arange(1000) + 0.5) / 1000
    tokens = draw(weights.log().expand(1000, 5), numbers)
    assert torch.bincount(tokens, minlength=5).tolist() == [0, 200, 500, 0, 300]


def test_the_ends_of_the_range_draw_tokens_that_can_be_drawn():
    logits = torch.tensor([[float("-inf"), 0.0, 3.0, float("-inf")]]).expand(2, 4)
    assert draw(logits, torch.tensor([0.0, 1.0])).tolist() == [1, 2]


def test_the_same_seeds_give_the_same_answers_whatever_is_asked_beside_them(chat):
    model, asked = tiny_model(), prompts(chat)
    sampling = Sampling(0.7, (1, 2, 3))
    together = answer_prompts(model, chat, asked, Generation(12, 8), sampling=sampling)
    assert together == answer_prompts(model, chat, asked, Generation(12, 8), sampling=sampling)
    alone = [
        answer_prompts(model, chat, [prompt], Generation(12, 8), sampling=Sampling(0.7, (seed,)))[0]
        for prompt, seed in zip(asked, sampling.seeds, strict=True)
    ]
    assert together == alone
    other = answer_prompts(model, chat, asked, Generation(12, 8), sampling=Sampling(0.7, (4, 5, 6)))
    assert all(one.text != two.text for one, two in zip(together, other, strict=True))


def test_sampling_at_a_temperature_near_zero_is_greedy(chat):
    model, asked = tiny_model(), prompts(chat)
    greedy = answer_prompts(model, chat, asked, Generation(12, 8))
    assert greedy == answer_prompts(model, chat, asked, Generation(12, 8), sampling=Sampling(1e-4, (1, 2, 3)))
    records = [Record(text, "") for text in ("Say it.", "A longer question about things?", "x")]
    assert greedy == generate_answers(model, chat, records, Generation(12, 8))


def test_each_prompt_has_its_own_limit(chat):
    model, asked = tiny_model(), prompts(chat)
    free = answer_prompts(model, chat, asked, Generation(12, 8))
    assert not any(answer.complete for answer in free)
    cut = answer_prompts(model, chat, asked, Generation(99, 8), limits=[3, 12, 1])
    again = [
        answer_prompts(model, chat, [prompt], Generation(n))[0] for prompt, n in zip(asked, (3, 12, 1), strict=True)
    ]
    assert cut == again
    assert not any(answer.complete for answer in cut)


@pytest.mark.parametrize("places", [1, 3, 8])
def test_places_that_are_filled_again_change_no_answer(chat, places):
    model = tiny_model()
    beginnings = ("Say it", "A longer question about some things, and then more of it", "x", "Count from one to nine")
    asked = [chat.conversation_ids((f"{text} {number}.",)) for number in range(6) for text in beginnings]
    limits = [1 + 5 * number % 13 for number in range(len(asked))]
    seen: list[int] = []
    found = answer_prompts(model, chat, asked, Generation(99, places), limits=limits, on_answers=seen.append)
    alone = [answer_prompts(model, chat, [prompt], Generation(n))[0] for prompt, n in zip(asked, limits, strict=True)]
    assert found == alone
    assert seen == sorted(set(seen)) and seen[-1] == len(asked)
