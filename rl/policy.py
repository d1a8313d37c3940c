"""A trained policy: loaded from a run, a folder or the hub, asked in the words that it was trained on, in batches."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

from rl import models
from rl.data import Task, prompt
from rl.effort import CLOSING, Dial, reasoning_length
from rl.exports import read_use
from rl.recipe.reward_sections import RelativeEffort, TokenEffort
from rl.telemetry.record import last_policy
from rl.tokens import decoding, end_ids, opens_reasoning

WORDINGS = {"relative": RelativeEffort(kind="relative").wording, "tokens": TokenEffort(kind="tokens").wording}


@dataclass(frozen=True, slots=True)
class Written:
    """Hold the tokens that a policy wrote, without the one that ends them; `cut` where none did."""

    ids: list[int]
    cut: bool


class Write(Protocol):
    """Go on from each start with at most so many tokens, as `Policy.write` does."""

    def __call__(
        self, starts: Sequence[Sequence[int]], most: Sequence[int], temperature: float, *, reasoning: bool = False
    ) -> list[Written]: ...


class Policy:
    """A policy, by the name of its folder or on the hub, with its tokenizer, and how it wants to be asked.

    `dial` says the effort, and `asked` how much of it; `opening` is what the chat template writes for the policy.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        system: str | None,
        dial: Dial | None,
        asked: float,
    ) -> None:
        self.name = name
        self.model, self.tokenizer = model.eval(), tokenizer
        self.system, self.dial, self.asked = system, dial, asked
        self.knows_dial = False
        self.opening = "<think>" if opens_reasoning(tokenizer) else ""
        self.ends = end_ids(model) or [int(tokenizer.eos_token_id)]  # pyright: ignore

    @classmethod
    def load(
        cls,
        name: str,
        *,
        system: str | None = None,
        fallback: str | None = None,
        effort: float | None = None,
        tokens: int | None = None,
        weights: bool = True,
    ) -> Self:
        """Load a policy by folder, run directory or hub name. Raises ModelError and RunError.

        `system` takes the place of the system prompt that it was trained with, "" of any; `fallback` is for a policy
        that was not trained here. Without `weights` it cannot write, but everything else of it is there.
        """
        transformers.utils.logging.disable_progress_bar()
        if not name:
            raise models.ModelError("MODEL is empty; name a run, a policy's folder, or ORG/MODEL")
        folder = str(last_policy(Path(name)) or name)
        if "/" not in folder and folder not in models.EMBEDDED and not Path(folder).is_dir():
            raise models.ModelError(f"{folder}: there is no such folder; name a run, a policy's folder, or ORG/MODEL")
        if folder in models.EMBEDDED:
            raise models.ModelError(f"{folder}: is untrained; name the run or the folder of a policy trained from it")
        use = read_use(Path(folder))
        try:
            if not (Path(folder) / "adapter_config.json").is_file():
                models.check_source(folder)
            tokenizer = models.load_tokenizer(folder)
            model: Any = _loaded(folder) if weights else models.load_outline(folder)
        except models.ModelError as error:
            raise models.ModelError(str(error).removeprefix("model.name: ")) from None  # no recipe's key names it here
        dial = None
        if effort is not None or tokens is not None:
            dial = _dial("relative" if effort is not None else "tokens", use, folder)
        trained = use.get("system", fallback)
        policy = cls(folder, model, tokenizer, trained if system is None else system, dial, effort or tokens or 0.0)
        policy.knows_dial = bool(use.get("effort"))
        return policy

    def with_weights(self) -> Self:
        """Return the same policy able to write, where it was loaded without its weights. Raises ModelError."""
        if self.model.device.type != "meta":
            return self
        other = copy.copy(self)
        other.model = _loaded(self.name).eval()
        return other

    def asking(self, asked: float) -> Self:
        """Return the same policy, asked for another effort or number of tokens."""
        other = copy.copy(self)
        other.asked = asked
        return other

    @property
    def context(self) -> int:
        """Count the tokens that the model can read and write in all."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30

    def prompt(self, task: Task) -> str:
        """Return what the policy is given to answer a task, in its chat template."""
        messages = prompt(task, self.system)
        if self.dial is not None:
            messages = self.dial.dress(messages, self.asked)
        return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text, as it is."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]  # pyright: ignore

    def room(self, prompt_ids: Sequence[int], max_tokens: int, source: str) -> int:
        """Return how much of max_tokens the model's context leaves behind the prompt that `source` names.

        Raises ModelError where it leaves nothing.
        """
        if len(prompt_ids) >= self.context:
            raise models.ModelError(
                f"{source}: the question of {len(prompt_ids)} tokens does not fit into the model's {self.context}; "
                "shorten it"
            )
        return min(max_tokens, self.context - len(prompt_ids))

    @torch.inference_mode()
    def write(
        self,
        starts: Sequence[Sequence[int]],
        most: Sequence[int],
        temperature: float,
        *,
        reasoning: bool = False,
        top_p: float = 1.0,
    ) -> list[Written]:
        """Go on from each start with at most so many tokens; temperature 0 is greedy.

        With `reasoning`, a text ends behind its </think> too. Raises ModelError where the model gives no finite
        probabilities.
        """
        longest = max(len(start) for start in starts)
        if len(starts) > 1 and longest + max(most) > self.context:  # side by side they would need more than there is
            half = len(starts) // 2
            parts = [(starts[:half], most[:half]), (starts[half:], most[half:])]
            first, second = (self.write(*part, temperature, reasoning=reasoning, top_p=top_p) for part in parts)
            return first + second
        config = decoding(self.model, self.tokenizer, temperature, top_p)
        config.max_new_tokens = max(most)
        config.stop_strings = CLOSING if reasoning else None
        pad, device = config.pad_token_id, self.model.device
        padded = [[pad] * (longest - len(start)) + list(start) for start in starts]
        mask = [[0] * (longest - len(start)) + [1] * len(start) for start in starts]
        try:
            rows = self.model.generate(
                input_ids=torch.tensor(padded, device=device),
                attention_mask=torch.tensor(mask, device=device),
                generation_config=config,
                stopping_criteria=StoppingCriteriaList([_Budgets([longest + count for count in most])]),
                tokenizer=self.tokenizer,
            )[:, longest:].tolist()
        except RuntimeError as error:
            if "probability tensor" not in str(error):
                raise
            raise models.ModelError(f"{self.name}: gives no finite probabilities; its weights are damaged") from None
        return [self.written(row[:limit], reasoning) for row, limit in zip(rows, most, strict=True)]

    def text(self, ids: Sequence[int]) -> str:
        """Return what tokens say, special ones too."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    def written(self, row: list[int], reasoning: bool) -> Written:
        """Return a row of tokens up to the one that ends it, or up to the end of its reasoning."""
        end = next((place for place, token in enumerate(row) if token in self.ends), len(row))
        if not reasoning or CLOSING not in self.text(row[:end]):
            return Written(row[:end], cut=end == len(row))
        return Written(row[: reasoning_length(self.tokenizer, row[:end])], cut=False)


class _Budgets(StoppingCriteria):
    """End each text of a batch at a length of its own."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = torch.tensor(lengths)

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Any:
        return (input_ids.shape[1] >= self.lengths).to(input_ids.device)


def digest_of(folder: Path) -> str | None:
    """Return the SHA-256 of a policy's weights; None for one that lies in no folder here."""
    files = sorted(folder.glob("*.safetensors"))
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest() if files else None


def _loaded(folder: str) -> Any:
    model: Any = models.load_trained(folder)
    return model.to(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else model


def _dial(kind: str, use: dict[str, Any], name: str) -> Dial:
    """Return a dial with the words that the policy was trained on. Raises ModelError where they are of another kind."""
    trained = use.get("effort")
    if trained and trained["kind"] != kind:
        option = "--tokens" if trained["kind"] == "tokens" else "--effort"
        raise models.ModelError(f"{name}: was trained to be asked with {option}; use that")
    wording = trained["wording"] if trained else WORDINGS[kind]
    return Dial(kind="relative" if kind == "relative" else "tokens", low=1, high=1, wording=wording)
