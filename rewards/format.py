"""Is the completion laid out as asked?"""

from dataclasses import dataclass

from rewards.base import Sample
from rewards.parse import check_tag, is_sequence_of_blocks


@dataclass(frozen=True)
class Format:
    """Penalise a broken layout: 0 where the completion is exactly the tags' blocks in order, -1 otherwise.

    A penalty and never a gift [ours], so that a well-formed wrong answer earns nothing.
    """

    tags: tuple[str, ...] = ("think", "answer")

    def __post_init__(self) -> None:
        if isinstance(self.tags, str) or not self.tags:
            raise ValueError(f"tags must be a list of tag names such as [think, answer], not {self.tags!r}")
        for tag in self.tags:
            check_tag(tag)
        if len(set(self.tags)) < len(self.tags):
            raise ValueError(f"tags must differ, not {list(self.tags)}")
        object.__setattr__(self, "tags", tuple(self.tags))

    def __call__(self, sample: Sample) -> float:
        return 0.0 if is_sequence_of_blocks(sample.completion, self.tags) else -1.0
