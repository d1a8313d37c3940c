"""Which panels a recipe's dashboard has: every metric that it emits has a place, and no panel is left empty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rl.recipe.checks import needs_of
from rl.recipe.credit_sections import Coupled, Uniform, probing
from rl.recipe.sections import Recipe, Stage
from rl.recipe.trainer_sections import Grpo, Online, Ppo


@dataclass(frozen=True, slots=True)
class Panel:
    """Hold what a panel draws, and for which recipes: `needs` names one of features(), "" is all.

    Keys with * stand for all that match. A `rare` one appears only where something went wrong, or late.
    """

    title: str
    keys: tuple[str, ...]
    needs: str = ""
    draws: Literal["lines", "areas", "maps", "table"] = "lines"
    rare: bool = False


SCORES = ("distance", "entropy", "sink", "receiver", "retrieval", "local", "global")
SECTIONS: dict[str, Sequence[Panel]] = {
    "reward": (
        Panel("Reward", ("reward/total/mean",), "online"),
        Panel("Parts of the reward", ("reward/*/mean",), "online"),
        Panel("Spread of the reward", ("reward/total/std",), "online"),
        Panel(
            "Groups that teach nothing, and rollouts without a verdict",
            ("reward/zero_spread/share", "reward/zero_groups/share", "reward/unjudged/share"),
            "online",
        ),
        Panel("Parts without a verdict", ("reward/*/unjudged",), "online"),
        Panel("Rewards that failed", ("reward/errors/count",), "online", rare=True),
        Panel("Loss of the demonstrations", ("optimizer/loss/mean",), "sft"),
        Panel("Token accuracy", ("policy/token_accuracy/mean",), "sft"),
    ),
    "credit": (
        Panel("Mean weight on the advantage", ("credit/weight/mean", "credit/delimiter_weight/mean"), "credit"),
        Panel("Tokens picked out", ("credit/selected/share", "credit/delimiter_selected/share"), "credit"),
        Panel("Anchors", ("credit/anchor/share",), "attention"),
        Panel("Anchors dominated by a preplan token", ("credit/dominated/share",), "coupled"),
        Panel("WAAD", ("attention/waad/mean",), "attention"),
        Panel("FAI", ("attention/fai/mean",), "attention"),
    ),
    "heads": (
        Panel("Reward", ("reward/total/mean",), "online"),
        Panel("Turnover, and heads that have drifted", ("heads/turnover/share", "heads/drifted/share"), "heads"),
        Panel("Cohorts by first snapshot", ("heads/cohort@*/count",), "heads", "areas"),
        Panel(
            "Appeared, stayed, vanished",
            ("heads/appeared/count", "heads/stayed/count", "heads/vanished/count"),
            "heads",
        ),
        Panel("Not in the base", ("heads/emerged/count",), "heads"),
        Panel("Of the base, still there", ("heads/retained/share",), "heads"),
        Panel("Mean drift from the base, in spreads", ("heads/drift/mean",), "heads"),
        Panel("Spearman of turnover and reward", ("heads/turnover_reward/spearman",), "heads of rollouts", rare=True),
        Panel("Maps of the probe set", tuple(f"heads/probe_{one}/map" for one in (*SCORES, "drift")), "heads", "maps"),
        Panel("Maps of rollouts", tuple(f"heads/rollouts_{one}/map" for one in SCORES), "heads of rollouts", "maps"),
        Panel("Share of credit", ("heads/rollouts_credit/map",), "heads of credit", "maps"),
        Panel("Every head on the probe set", ("heads/probe/table",), "heads", "table"),
        Panel("Every head on rollouts", ("heads/rollouts/table",), "heads of rollouts", "table"),
    ),
    "effort": (
        Panel("Length by effort", ("effort/length/mean", "effort/length@*/mean"), "effort"),
        Panel("Length relative to the usual", ("effort/ratio/mean", "effort/ratio@*/mean"), "relative effort"),
        Panel("Right by effort", ("effort/correct/mean", "effort/correct@*/mean"), "effort"),
        Panel("Reward by effort", ("effort/reward/mean", "effort/reward@*/mean"), "effort"),
        Panel("Tokens off the number asked for", ("effort/error/mean", "effort/error@*/mean"), "tokens"),
    ),
    "monitor": (
        Panel("Violations", ("monitor/violation/share", "monitor/own_violation/share"), "monitor"),
        Panel("Agreement of monitor and policy", ("monitor/agreement/share",), "monitor"),
        Panel("Unparsed audits", ("monitor/unparsed/share", "monitor/own_unparsed/share"), "monitor"),
        Panel("Lambda", ("monitor/lambda/last",), "lagrangian"),
    ),
    "policy": (
        Panel("Completion length", ("rollout/length/mean", "rollout/length/min", "rollout/length/max"), "online"),
        Panel("Length of completions that ended", ("rollout/terminated_length/*",), "online"),
        Panel("Cut off", ("rollout/truncated/share",), "online"),
        Panel("Entropy", ("policy/entropy/mean",)),
        Panel("KL from the reference", ("policy/kl/mean",), "kl"),
        Panel("Weight of the KL", ("policy/kl_weight/last",), "ppo kl"),
        Panel("Tokens clipped", ("policy/clip/share", "policy/clip_low/share", "policy/clip_high/share"), "online"),
        Panel("Value and return", ("critic/value/mean", "critic/return/mean"), "critic"),
        Panel("Explained variance", ("critic/explained_variance/mean",), "critic"),
        Panel("Loss of the critic", ("critic/loss/mean", "critic/clip/share"), "critic"),
        Panel("Alarms", ("alarm/*/ratio",), "alarms"),
    ),
    "efficiency": (
        Panel("Seconds a step", ("time/step/seconds",)),
        Panel("Tokens a second", ("time/tokens/per_second",)),
        Panel("Seconds of scoring", ("time/scoring/seconds",), "online"),
        Panel("Seconds of measuring heads", ("time/heads/seconds",), "heads"),
        Panel("Tokens", ("data/tokens/total",)),
        Panel("Epochs", ("data/epoch/last",)),
        Panel("Loss", ("optimizer/loss/mean",)),
        Panel("Norm of the gradient", ("optimizer/grad_norm/last",)),
        Panel("Learning rate", ("optimizer/learning_rate/last",)),
        Panel("Skipped steps", ("optimizer/skipped/count",), rare=True),
    ),
}


def sections(recipe: Recipe) -> dict[str, list[Panel]]:
    """Return a recipe's panels by section; sections without any are left out."""
    known = features(recipe)
    found = {name: [panel for panel in panels if panel.needs in known] for name, panels in SECTIONS.items()}
    if "heads" not in known:
        del found["heads"]
    return {name: panels for name, panels in found.items() if panels}


def metrics(recipe: Recipe) -> list[str]:
    """Return the keys of the numbers that a recipe's runs record: parts of the reward by name, * for the rest."""
    found = [
        key for panels in sections(recipe).values() for panel in panels if panel.draws == "lines" for key in panel.keys
    ]
    parts = [name for stage in recipe.stages for name in (stage.rewards or recipe.rewards).parts]
    named = [key.replace("*", part) for key in found if key.startswith("reward/*") for part in parts]
    return list(dict.fromkeys([*(key for key in found if not key.startswith("reward/*")), *named]))


def features(recipe: Recipe) -> frozenset[str]:
    """Return what a recipe's stages emit metrics about, and "" for what all do."""
    found = {""} | {"alarms" for alarm in (recipe.alarms.length, recipe.alarms.entropy) if alarm}
    for stage in recipe.stages:
        found |= _of_online(recipe, stage) if isinstance(stage.trainer, Online) else {"sft"}
    if recipe.telemetry.heads.every == 0:
        return frozenset(found - {"heads of rollouts", "heads of credit"})
    return frozenset(found | {"heads"})


def _of_online(recipe: Recipe, stage: Stage) -> set[str]:
    trainer, rewards, credit = stage.trainer, stage.rewards or recipe.rewards, stage.credit or recipe.credit
    effort, monitor = stage.effort or recipe.effort, stage.monitor or recipe.monitor
    needs = {section for wanted in needs_of(rewards).values() for section, _ in wanted}
    said = {
        "credit": not isinstance(credit, Uniform),
        "heads of credit": not isinstance(credit, Uniform),
        "attention": probing(credit) is not None,
        "coupled": isinstance(credit, Coupled),
        "kl": (isinstance(trainer, Grpo) and trainer.beta > 0) or (isinstance(trainer, Ppo) and trainer.kl.weight > 0),
        "ppo kl": isinstance(trainer, Ppo) and trainer.kl.weight > 0,
        "critic": isinstance(trainer, Ppo),
        "effort": effort is not None,
        "relative effort": effort is not None and effort.kind == "relative",
        "tokens": effort is not None and effort.kind == "tokens",
        "monitor": monitor is not None and "monitor" in needs,
        "lagrangian": rewards.combine == "lagrangian",
    }
    return {"online", "heads of rollouts", *(name for name, holds in said.items() if holds)}
