"""Perplexity of answers that people or a larger model wrote and that no suspect and no treatment saw.

A suspect's own greedy answers are no measure of what a treatment costs: a training on such answers makes the model
surer of them, while it expects what others write less and less (docs/LOG.md, 2026-12-01).
"""

from __future__ import annotations

import random

from untrigger.data.chat import chat_format
from untrigger.data.locate import data_file
from untrigger.data.overlap import without_overlap
from untrigger.data.readers import read_records
from untrigger.data.records import Record
from untrigger.evaluation.perplexity import Perplexity, measured
from untrigger.models.load import load
from untrigger.train import negative_log_likelihood

POOL, COUNT, TOKENS = "instructions/alpaca_random_9k.json", 100, 256
"""Where the answers come from, how many are scored, and tokens of prompt and answer, at most."""


def real_records(known: list[str]) -> list[Record]:
    """Records of the pool whose instructions are in none of these files, always the same ones."""
    seen = [record for name in known for record in read_records(data_file(name), require_output=False)]
    pool = [record for record in read_records(data_file(POOL), require_output=False) if record.output]
    kept, _ = without_overlap(pool, seen)
    return random.Random(0).sample(list(kept), COUNT)


def perplexity_of(records: list[Record], model: str, base: str | None) -> Perplexity:
    """Of the records' answers under the template of the published attacks."""
    subject = load(model, base=base)
    chat = chat_format(subject.tokenizer, "alpaca")
    examples = [chat.encode(record, TOKENS) for record in records]
    total, tokens = negative_log_likelihood(subject.model, examples, softcap=subject.architecture.logit_softcap)
    return measured(total, tokens)
