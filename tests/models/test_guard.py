from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tiny import save_tiny, tiny_model, tiny_tokenizer
from untrigger.data.chat import ChatFormat
from untrigger.data.records import Record
from untrigger.errors import UsageError
from untrigger.models.generate import Generation, generate_answers
from untrigger.models.guard import Guard, guarded
from untrigger.models.load import load

TEXTS = ("Say it.", "A longer question about things?", "x", "Count from one to nine, and then back again.")
RECORDS = [Record(text, "") for text in TEXTS]
LENGTH = 12


@pytest.fixture
def chat():
    return ChatFormat(tiny_tokenizer())


def sharp(seed):
    """A random model that is surer of its tokens than such models are."""
    model = tiny_model(seed=seed)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(8)
    return model


def answered(model, chat, guard=None, places=8):
    return [one.text for one in generate_answers(model, chat, RECORDS, Generation(LENGTH, places), guard=guard)]


def test_a_row_is_the_references_where_its_likeliest_token_is_so_many_times_likelier():
    ours = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]).log()
    theirs = torch.tensor([[0.2, 0.7, 0.1], [0.3, 0.6, 0.1], [0.5, 0.1, 0.4]]).log()
    found = guarded(ours + 3, theirs - 1, 4.0)  # logits, of which a constant may be taken
    assert torch.equal(found, torch.stack([(theirs - 1)[0], (ours + 3)[1], (theirs - 1)[2]]))


def published(model, reference, prompt, threshold, stops):
    """CleanGen's rule on one sequence, without any cache: (s_t >= alpha) takes the reference's token."""
    ids, replaced = list(prompt), 0
    for _ in range(LENGTH):
        with torch.no_grad():
            ours, theirs = (one(torch.tensor([ids])).logits[0, -1].double().softmax(-1) for one in (model, reference))
        token = int(ours.argmax())
        if ours[token] / theirs[token] >= threshold:
            token, replaced = int(theirs.argmax()), replaced + 1
        if token in stops:
            break
        ids.append(token)
    return ids[len(prompt) :], replaced


@pytest.mark.parametrize("places", [1, 3, 8])
@pytest.mark.parametrize("threshold", [1.5, 20.0, 1e4])
def test_answers_are_those_of_the_published_rule(chat, places, threshold):
    model, reference = sharp(0), sharp(1)
    guard = Guard(reference, None, threshold)
    wanted = [published(model, reference, chat.prompt_ids(one), threshold, chat.stop_ids) for one in RECORDS]
    texts = [chat.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids, _ in wanted]
    assert answered(model, chat, guard, places) == texts
    if threshold < 1e4:
        assert sum(replaced for _, replaced in wanted) > 0


def test_a_model_that_watches_itself_changes_nothing_and_a_boundless_threshold_neither(chat):
    model, plain = sharp(0), answered(sharp(0), chat)
    assert answered(model, chat, Guard(model, None, 1.001)) == plain
    assert answered(model, chat, Guard(sharp(1), None, math.inf)) == plain
    assert answered(sharp(1), chat) != plain


def test_a_reference_whose_tokens_mean_something_else_is_refused(tmp_path):
    one, other = (load(str(save_tiny(tmp_path / name))) for name in ("one", "other"))
    assert Guard.of(one, other, 20.0).threshold == 20.0
    padded = replace(other, model=tiny_model(vocab_size=300))
    with pytest.raises(UsageError, match="their vocabularies differ"):
        Guard.of(padded, one, 20.0)
    other.tokenizer.add_tokens(["further"])
    with pytest.raises(UsageError, match=r"one cannot watch .*other \(their vocabularies differ\)"):
        Guard.of(one, other, 20.0)
