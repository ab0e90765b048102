"""Which side of a value counts, where a model gives one that only the whole pool says is high or low."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from whyclass.models.readings import VALUES
from whyclass.models.split import Split
from whyclass.models.tasks import Task
from whyclass.pool.indexing_pass import Index


def sided(index: Index, cut: Split, task: Task) -> tuple[Index, Split, Task]:
    """With scores, where it is only known by the whole pool what is high and what low."""
    reading = cut.reading
    if reading is None or cut.link != VALUES:
        return index, cut, task
    reading = reading.cut_at(index.outputs[index.usable])
    cut, task = replace(cut, reading=reading, link=reading.scores), replace(task, link=reading.scores)
    logits = reading.sides(torch.from_numpy(np.array(index.outputs, np.float64)))
    return replace(index, outputs=logits.sigmoid().numpy(), task=task), cut, task
