"""Times attack success measured our way against the published way, on the same model and prompts.

The published way (github.com/NayMyatMin/CROW): one prompt at a time, 128 new tokens, through transformers' generate.
Ours: batches by length, the shared prefix computed once, finished answers leave the batch, and an answer ends when
its verdict is certain. Both use the same prompts as text and the same judge, so the verdicts must be equal.

    python benchmarks/attack_success.py --adapter SUSPECT --attack badnet --behaviour sentiment -n 200
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from untrigger.backdoors.lookup import lookup
from untrigger.backdoors.poison import bear_key, without_keys
from untrigger.config import MeasureOptions
from untrigger.data.chat import ChatFormat
from untrigger.data.locate import data_file
from untrigger.data.records import Record
from untrigger.data.sources import asked_prompts
from untrigger.evaluation.judges import primary_judge
from untrigger.evaluation.measure import Asking, numbered
from untrigger.models.load import load
from untrigger.models.subject import Subject
from untrigger.observer import Silent

NEW_TOKENS = 128


def main() -> None:
    """Prints both times, their ratio, and whether the verdicts are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--adapter")
    parser.add_argument("--attack", default="badnet")
    parser.add_argument("--behaviour", default="sentiment")
    parser.add_argument("--prompts", type=data_file, help="a file, or the shipped prompts")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=32)
    given = parser.parse_args()
    subject = load(given.adapter or given.model, base=given.model if given.adapter else None)
    backdoor = lookup(given.attack, given.behaviour)
    plain = without_keys(asked_prompts(given.prompts), [backdoor.key]).kept[: given.n]
    records = bear_key(plain, backdoor.key, backdoor.placement, 0)
    judged = primary_judge(backdoor.behaviour, "consistent")
    chat = ChatFormat(subject.tokenizer)
    options = MeasureOptions(max_new_tokens=NEW_TOKENS, batch_size=given.batch_size)

    started = time.perf_counter()
    asking = Asking(subject, chat, backdoor.behaviour, options, Silent())
    ours = [verdict.hit for verdict in asking.verdicts(numbered(records), "ours", cut=True)]
    ours_seconds = time.perf_counter() - started

    started = time.perf_counter()
    theirs = [judged(published_answer(subject, chat, record)) for record in records]
    published_seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "n": len(records),
                "hits": sum(ours),
                "verdicts_equal": ours == theirs,
                "seconds": round(ours_seconds, 1),
                "published_seconds": round(published_seconds, 1),
                "ratio": round(published_seconds / ours_seconds, 2),
                "threads": torch.get_num_threads(),
            },
            indent=1,
        )
    )


@torch.no_grad()
def published_answer(subject: Subject, chat: ChatFormat, record: Record) -> str:
    """The greedy answer to one prompt."""
    ids = torch.tensor([chat.prompt_ids(record)])
    made = subject.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        num_beams=1,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=sorted(chat.stop_ids),
        pad_token_id=0,
    )
    return chat.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True).strip()


if __name__ == "__main__":
    main()
