"""How traces of a teacher become data for supervised fine-tuning. Field docstrings are the documentation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rl.recipe.data_sections import Data
from rl.recipe.endpoint_section import Endpoint
from rl.recipe.section import Positive, Section, Share

Name = Annotated[str, Field(min_length=1)]


class TransformersTeacher(Section):
    """The teacher runs here, with transformers."""

    kind: Literal["transformers"] = "transformers"
    name: Name | None = None
    """Model folder or hub name, or a run whose last policy it is; by default the recipe's model."""
    revision: str | None = None
    """Branch, tag or commit of the teacher on the hub."""


class VllmTeacher(Section):
    """The teacher runs here, with vLLM."""

    kind: Literal["vllm"]
    name: Name | None = None
    """Model folder or hub name; by default the recipe's model."""
    revision: str | None = None
    """Branch, tag or commit of the teacher on the hub."""
    tensor_parallel: Positive = 1
    """GPUs that it is spread over."""


class EndpointTeacher(Endpoint):
    """The teacher stands behind an OpenAI-compatible endpoint."""

    kind: Literal["endpoint"]


AnyTeacher = Annotated[TransformersTeacher | VllmTeacher | EndpointTeacher, Field(discriminator="kind")]


class Lexical(Section):
    """Likeness is the share of a sentence's words that the question says too [ours]; needs no model."""

    kind: Literal["lexical"] = "lexical"


class Embedding(Section):
    """Likeness is the cosine of two sentence embeddings [paper]; needs rhythm-rl[echo]."""

    kind: Literal["embedding"]
    model: Name = "sentence-transformers/all-MiniLM-L6-v2"
    """Any model of sentence-transformers, by folder or hub name."""
    probe: str | None = None
    """A trained probe over the two embeddings, in place of their cosine: a file that `rhythm probe` wrote."""


Similarity = Annotated[Lexical | Embedding, Field(discriminator="kind")]


class Detection(Section):
    """What counts as an echo (arXiv 2602.06600): an opening that restates the question."""

    similarity: Similarity = Lexical()
    threshold: Share = 0.6
    """Least likeness of the first sentence to the question [paper]."""
    drop: Annotated[float, Field(ge=0, le=1)] = 0.15
    """The echo goes on until likeness falls by more than this below its peak [paper]."""
    openers: Annotated[int, Field(ge=0)] = 1
    """Sentences such as "Okay, let me see." that may stand before it, and belong to it [ours]."""


class Distill(Section):
    """Traces of a teacher, verified, with and without an echo of the question (arXiv 2602.06600, ED-SFT)."""

    teacher: AnyTeacher = TransformersTeacher()
    traces: Positive = 4
    """Traces that the teacher writes for each prompt of `data`."""
    keep: Positive = 1
    """Most traces of a prompt that become rows: the first that hold."""
    temperature: Annotated[float, Field(ge=0)] = 0.7
    """Temperature of the teacher."""
    max_tokens: Positive = 2048
    """Longest trace, in the teacher's tokens; one that is cut off is dropped."""
    detection: Detection = Detection()
    edit: Literal["template", "teacher"] = "template"
    """Who writes an echo where there is none: words of ours around the question, or the teacher."""
    held_out: list[Data] = []
    """Sets that are evaluated on: a prompt that shares words with theirs is left out."""
    ngram: Positive = 13
    """Words in a row that a prompt may not share with a held-out one [ours]; of a shorter prompt, all of them."""
    failures: Positive = 20
    """Calls of the teacher in a row that may fail before it is given up, to be resumed later."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.keep > self.traces:
            raise ValueError(f"keep: {self.keep} of {self.traces} traces cannot be kept; raise traces, or lower keep")
        if self.temperature == 0 and self.traces > 1:
            raise ValueError("traces: at temperature 0 all are the same; write traces: 1, or a temperature")
        return self
