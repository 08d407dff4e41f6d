"""Times attack success measured our way against the published way, on the same model and prompts.

The published way (github.com/NayMyatMin/CROW): one prompt at a time, 128 new tokens, through transformers' generate.
Ours: batches by length, the shared prefix computed once, finished answers leave the batch, and an answer ends when
its verdict is certain. Both use the same prompts as text and the same judge, so the verdicts must be equal. As the
published evaluation does, prompts are asked with the key and without.

    python benchmarks/attack_success.py --adapter SUSPECT --attack badnet --behaviour sentiment -n 200
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

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
    parser.add_argument("--batch-size", type=int, default=MeasureOptions().batch_size)
    given = parser.parse_args()
    subject = load(given.adapter or given.model, base=given.model if given.adapter else None)
    backdoor = lookup(given.attack, given.behaviour)
    plain = without_keys(asked_prompts(given.prompts), [backdoor.key]).kept[: given.n]
    sets = {"with_key": bear_key(plain, backdoor.key, backdoor.placement, 0), "without_key": plain}
    judged = primary_judge(backdoor.behaviour, "consistent")
    chat = ChatFormat(subject.tokenizer)
    asking = Asking(
        subject,
        chat,
        backdoor.behaviour,
        MeasureOptions(max_new_tokens=NEW_TOKENS, batch_size=given.batch_size),
        Silent(),
    )

    def ours(records: list[Record]) -> list[bool]:
        return [verdict.hit for verdict in asking.verdicts(numbered(records), "ours", cut=True)]

    def published(records: list[Record]) -> list[bool]:
        return [judged(published_answer(subject, chat, record)) for record in records]

    found = {name: compared(records, ours, published) for name, records in sets.items()}
    seconds = [sum(each[way] for each in found.values()) for way in ("seconds", "published_seconds")]
    ratio = round(seconds[1] / seconds[0], 2)
    print(json.dumps({**found, "ratio": ratio, "threads": torch.get_num_threads()}, indent=1))


def compared(
    records: list[Record], ours: Callable[[list[Record]], list[bool]], published: Callable[[list[Record]], list[bool]]
) -> dict[str, float]:
    """Hits, times and their ratio for one set of prompts, and whether the verdicts are equal."""
    started = time.perf_counter()
    fast = ours(records)
    between = time.perf_counter()
    slow = published(records)
    ended = time.perf_counter()
    return {
        "n": len(records),
        "hits": sum(fast),
        "verdicts_equal": fast == slow,
        "seconds": round(between - started, 1),
        "published_seconds": round(ended - between, 1),
        "ratio": round((ended - between) / (between - started), 2),
    }


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
