"""How the advantage is shared out among tokens: one section for each kind of credit."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rl.recipe.section import Positive, Section, Share, matching

Gain = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
End = Literal["top", "bottom"]


class Uniform(Section):
    """Every token gets the advantage of its completion, as in plain GRPO."""

    kind: Literal["uniform"] = "uniform"


class UniformGain(Section):
    """Control: every token gets the same gain, the mean weight of a rule that gives 1.5 to 40 % of them [ours]."""

    kind: Literal["uniform_gain"]
    gain: Gain = 1.2
    """Weight of every token [ours]."""
    sign: Literal["both", "positive", "negative"] = "both"
    """Advantages that are weighted: `positive` those of 0 and above, `negative` the rest; the others get weight 1."""


class Weighing(Section):
    """What all kinds share that tell tokens apart."""

    sign: Literal["both", "positive", "negative"] = "both"
    """Advantages that are weighted: `positive` those of 0 and above (version 1), `negative` the rest; others get 1."""
    normalize: bool = False
    """Scale the weights to mean 1 per response, so that credit does not change the step size [ours]."""
    exclude_delimiters: bool = False
    """Never select punctuation, white space and special tokens; the share is then one of the other tokens [ours]."""


class Selective(Weighing):
    """What all kinds share that select tokens."""

    gain: Gain = 1.5
    """Weight of a selected token [paper]."""
    top_share: Share = 0.4
    """Share of a response's tokens that are selected; for coupled, that are anchors [paper]."""
    floor: Weight = 1.0
    """Weight of a token that is not selected: 1 is the paper's, below it credit turns into pure weighting [ours]."""

    @model_validator(mode="after")
    def _gain_is_one(self) -> "Selective":
        if self.floor > self.gain:
            raise ValueError(f"floor: {self.floor:g} is above the gain {self.gain:g}; what is selected would get less")
        return self


class Probing(Section):
    """How attention is read (arXiv 2510.13554)."""

    window: Positive = 10
    """WAAD clips distances at this many tokens [paper]."""
    horizon: Annotated[list[Positive], Field(min_length=2, max_length=2)] = [10, 100]
    """FAI averages the attention that a token gets from this near to this far after it; version 1: [10, 50] [paper]."""
    layers: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    """Probed layers; by default five, evenly spaced over the middle third [paper]."""
    local_share: Share = 0.3
    """Share of probed heads, nearest mean distance first, that are local [paper]."""
    global_share: Share = 0.3
    """Share of probed heads, farthest mean distance first, that are global [paper]."""
    reselect_every: Positive = 25
    """Steps between two selections of the local and global heads [ours]."""
    calibration: Positive = 16
    """Rollouts of a step, over all devices and evenly spaced, that heads are selected on [ours]."""
    exclude_sinks: bool = False
    """Leave attention sinks out of the heads' mean distance, and never select one (arXiv 2512.22213) [ours]."""
    probe: Literal["fused", "separate"] = "fused"
    """`fused`: read the forward pass that GRPO makes anyway; `separate`: one more, as the paper does, to compare."""

    @model_validator(mode="after")
    def _horizon_is_a_range(self) -> "Probing":
        if self.horizon[0] > self.horizon[1]:
            raise ValueError(f"horizon: {self.horizon} is empty; write [nearest, farthest]")
        if self.layers and len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layers: {self.layers} names a layer twice")
        if self.local_share + self.global_share > 1:
            total = self.local_share + self.global_share
            raise ValueError(f"local_share and global_share: heads would be both, since they add up to {total:g}")
        return self


class Attentive(Selective, Probing):
    """What all kinds share that select tokens by attention."""


class Preplan(Attentive):
    """Tokens where WAAD jumps get more of the advantage (arXiv 2510.13554)."""

    kind: Literal["preplan"]
    end: End = "top"
    """`bottom` selects the tokens with the least signal: a control."""


class Anchor(Attentive):
    """Tokens that much of the later response attends to get more of the advantage (arXiv 2510.13554)."""

    kind: Literal["anchor"]
    end: End = "top"
    """`bottom` selects the tokens with the least signal: a control."""


class Coupling(Attentive):
    """What coupled and shuffled credit share."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a dominated anchor's gain that moves to its introductory token [ours]."""
    lookback: Positive = 3
    """How many tokens back an introductory token is looked for [ours]."""


class Coupled(Coupling):
    """Anchors, and the tokens that introduce them, get more of the advantage (arXiv 2510.13554, version 2)."""

    kind: Literal["coupled"] = "coupled"


class Shuffled(Coupling):
    """Control: the weights of coupled credit, in a random order within each response."""

    kind: Literal["shuffled"]


class Random(Selective):
    """Control: a random share of the tokens gets more of the advantage."""

    kind: Literal["random"]


class Entropy(Selective):
    """Control: tokens drawn from a distribution of high entropy get more of the advantage."""

    kind: Literal["entropy"]
    end: End = "top"
    """`bottom` selects the tokens with the least entropy."""


class Own(Weighing, Probing):
    """A rule of the user's own: see docs/own.md."""

    kind: Literal["own"]
    rule: Annotated[str, matching(r"[\w.]+:\w+", "an import path such as my_module:my_rule")]
    """Import path of a function that takes signals and returns a weight for every token."""
    options: dict[str, Any] = {}
    """What else the function is called with."""
    reads: list[Literal["attention", "entropy", "noise"]] = []
    """Signals that are measured for the rule: `attention` for WAAD and FAI, `entropy`, `noise`; others are None."""

    @model_validator(mode="after")
    def _reads_what_it_sets(self) -> "Own":
        if "attention" not in self.reads:
            for name, field in Probing.model_fields.items():
                if getattr(self, name) != field.default:
                    raise ValueError(f"{name}: has no effect, since `reads` has no attention; add it, or leave it out")
        elif self.probe == "separate" and "entropy" in self.reads:
            raise ValueError(
                "probe: entropies are of the pass that GRPO makes, so separate has no effect; leave it out"
            )
        return self


Credit = Annotated[
    Uniform | UniformGain | Preplan | Anchor | Coupled | Random | Shuffled | Entropy | Own,
    Field(discriminator="kind"),
]


def probing(section: Credit) -> Probing | None:
    """Return how a kind of credit reads attention; None where it reads none."""
    if isinstance(section, Own):
        return section if "attention" in section.reads else None
    return section if isinstance(section, Attentive) else None
