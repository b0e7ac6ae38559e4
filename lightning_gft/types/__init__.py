"""The data of a training step, and the legend of its shapes.

Dimensions, used in every docstring and comment of the package:

* ``P`` prompts of a batch
* ``K`` responses to one prompt; a prompt and its responses are a *group*
* ``N`` sequences of a batch: all responses of all groups. Groups may differ in size, so ``N`` need not be ``P * K``
* ``T`` padded length of a sequence, prompt and response together
* ``M`` response tokens of a batch, flattened: the positions of ``[N, T]`` where ``response_mask`` is true, by rows;
  ``m`` of them in a micro-batch or a chunk of one
* ``V`` vocabulary, ``H`` hidden size

Per-token tensors align with ``input_ids``: position ``t`` holds ``log pi(token t | tokens < t)``. Position 0 has no
earlier tokens, holds 0 and is always masked.
"""

from lightning_gft.types.generator import PendingResponses, ResponseGenerator
from lightning_gft.types.padding import pad_sequences
from lightning_gft.types.prompts import Candidate, EncodedText, PromptBatch, Response, ResponseEncoder, Source
from lightning_gft.types.sequences import GroupBatch, Sequences
from lightning_gft.types.tokens import OLD, CoefficientsFn, LossOutput, Need, TokenBatch, TokenObjective, TrainedTokens

__all__ = [
    "OLD",
    "Candidate",
    "CoefficientsFn",
    "EncodedText",
    "GroupBatch",
    "LossOutput",
    "Need",
    "PendingResponses",
    "PromptBatch",
    "Response",
    "ResponseEncoder",
    "ResponseGenerator",
    "Sequences",
    "Source",
    "TokenBatch",
    "TokenObjective",
    "TrainedTokens",
    "pad_sequences",
]
