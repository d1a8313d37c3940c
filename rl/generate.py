"""Ask a trained policy questions, in the words that it was trained on, with some effort."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import transformers
from transformers import GenerationConfig, PreTrainedTokenizerBase

from rl import models
from rl.data import Task, prompt
from rl.effort import Dial, reasoning_length
from rl.recipe.reward_sections import RelativeEffort, TokenEffort
from rl.telemetry.record import last_policy

WORDINGS = {"relative": RelativeEffort(kind="relative").wording, "tokens": TokenEffort(kind="tokens").wording}


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold a question, what the policy wrote, and how long that is, in tokens."""

    question: str
    completion: str
    num_tokens: int
    num_reasoning_tokens: int


class Policy:
    """A policy that answers questions one at a time."""

    def __init__(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, system: str | None, dial: Dial | None, asked: float
    ) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.system, self.dial, self.asked = system, dial, asked
        self.knows_dial = False

    @classmethod
    def load(cls, name: str, *, system: str | None, effort: float | None, tokens: int | None, seed: int) -> Self:
        """Load a policy by folder, run directory or hub name. Raises ModelError and RunError."""
        transformers.utils.logging.disable_progress_bar()
        folder = str(last_policy(Path(name)) or name)
        if "/" not in folder and folder != models.TINY and not Path(folder).is_dir():
            raise models.ModelError(f"{folder}: there is no such folder; name a run, a policy's folder, or ORG/MODEL")
        if folder == models.TINY:
            raise models.ModelError("tiny: is untrained; name the run or the folder of a policy trained from it")
        if not (Path(folder) / "adapter_config.json").is_file():
            models.check_source(folder)
        use = models.read_use(Path(folder))
        torch.manual_seed(seed)
        tokenizer = models.load_tokenizer(folder)
        model: Any = models.load_trained(folder)
        if torch.accelerator.is_available():
            model = model.to(torch.accelerator.current_accelerator())
        dial = None
        if effort is not None or tokens is not None:
            dial = _dial("relative" if effort is not None else "tokens", use, folder)
        policy = cls(model, tokenizer, system or use.get("system"), dial, effort or tokens or 0.0)
        policy.knows_dial = bool(use.get("effort"))
        return policy

    @torch.inference_mode()
    def reply(self, question: str, *, max_tokens: int, temperature: float) -> Reply:
        """Answer one question with at most max_tokens, within the model's context; temperature 0 is greedy.

        Raises ModelError where the question does not fit.
        """
        messages = prompt(Task("question", question, ""), self.system)
        if self.dial is not None:
            messages = self.dial.dress(messages, self.asked)
        tokenizer = self.tokenizer
        inputs: Any = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        length = inputs["input_ids"].shape[1]
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or length + max_tokens
        if length >= context:
            raise models.ModelError(
                f"the question of {length} tokens does not fit into the model's {context}; shorten it"
            )
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        config = GenerationConfig(
            max_new_tokens=min(max_tokens, context - length),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=models.end_ids(self.model) or tokenizer.eos_token_id,
            **sampling,
        )
        inputs = inputs.to(self.model.device)
        written = self.model.generate(**inputs, generation_config=config)[0, inputs["input_ids"].shape[1] :].tolist()
        ends = [tokenizer.eos_token_id, *models.end_ids(self.model)]
        kept = written[:-1] if written and written[-1] in ends else written
        text = str(tokenizer.decode(kept, skip_special_tokens=False))
        return Reply(question, text, len(kept), reasoning_length(tokenizer, kept))


def _dial(kind: str, use: dict[str, Any], name: str) -> Dial:
    """Return a dial with the words that the policy was trained on. Raises ModelError where they are of another kind."""
    trained = use.get("effort")
    if trained and trained["kind"] != kind:
        option = "--tokens" if trained["kind"] == "tokens" else "--effort"
        raise models.ModelError(f"{name}: was trained to be asked with {option}; use that")
    wording = trained["wording"] if trained else WORDINGS[kind]
    return Dial(kind="relative" if kind == "relative" else "tokens", low=1, high=1, wording=wording)
