"""The anchors of a trace as a page: its sentences, what hangs on which, and the heads that look back at them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rl.analysis.anchors.figures import Sentences, arcs, bars, head_map, heat_map
from rl.analysis.anchors.suppression import dependents, importances
from rl.report.sheet import Passage, Section, render_sheet

if TYPE_CHECKING:
    from rl.analysis.anchors.analyze import Anchors

NUM_DEPENDENTS = 3


def render(facts: Mapping[str, Any], found: "Anchors") -> str:
    """Return the page as text."""
    trace, matrix = found.traces[found.shown], found.matrices[found.shown]
    count = len(trace.sentences)
    sentences = Sentences(
        trace.texts,
        _importance(found),
        found.receivers.received[found.shown],
        [dependents(matrix, place, NUM_DEPENDENTS) for place in range(count)],
    )
    sections = [
        Section("trace", "Trace", _note(found), passages=_passages(found, sentences)),
        Section(
            "graph",
            "What hangs on what",
            "A sentence is hidden from all later ones, in every layer and head; what moves is told by the KL "
            "divergence of their next-token distributions, as a logarithm, less the mean of the same sentence.",
            cards=[arcs(sentences, matrix), heat_map(sentences, matrix)] if count > 1 else [],
        ),
        Section(
            "heads",
            "Receiver heads",
            "Heads whose attention falls on few earlier sentences: Fisher kurtosis of the attention that sentences get "
            f"from those at least 4 later, mean over {len(found.traces)} trace{'s'[: len(found.traces) > 1]}."
            if found.receivers.heads
            else "No trace has sentences enough to score heads.",
            ("head", "kurtosis"),
            [[f"layer {at}, head {head}", f"{found.receivers.scores[at, head]:.2f}"] for at, head in _top(found)],
            [head_map(found.receivers), bars(sentences)] if found.receivers.heads else [],
        ),
    ]
    return render_sheet("Thought anchors", _facts(facts, found), sections)


def _top(found: "Anchors") -> Sequence[tuple[int, int]]:
    return found.receivers.heads


def _facts(facts: Mapping[str, Any], found: "Anchors") -> list[tuple[str, str]]:
    trace = found.traces[found.shown]
    verdict = {True: "right", False: "wrong", None: "unjudged"}[trace.trace.correct]
    shown = [(name.capitalize(), str(facts[name])) for name in ("model", "data")]
    shown += [("Trace", f"{facts['row']}, {verdict}"), ("Sentences", str(len(trace.sentences)))]
    shown += [("Tokens", f"{len(trace.completion):,}"), ("Traces", f"{len(found.traces):,}")]
    return [*shown, ("Too long for the model", str(found.too_long))] if found.too_long else shown


def _importance(found: "Anchors") -> list[float | None]:
    """Return what sentences are shaded by: what resampling says of them, where it was asked, or else suppression."""
    if found.resampled is not None:
        return [one.importance for one in found.resampled]
    return importances(found.matrices[found.shown])


def _note(found: "Anchors") -> str:
    by = "by the change of the answer when another sentence is in its place" if found.resampled is not None else ""
    by = by or "by its mean effect on later ones when it is hidden"
    question = " ".join(found.traces[found.shown].trace.question.split())
    return f"Each sentence is shaded {by}; dashed are those that hang on it most. The question: {question}"


def _passages(found: "Anchors", sentences: Sentences) -> list[Passage]:
    matrix = found.matrices[found.shown]
    passages = []
    for place, text in enumerate(sentences.texts):
        linked = sentences.dependents[place]
        told = [f"Sentence {place + 1}", *_told(found, sentences, place)]
        hang = ", ".join(f"{later + 1} ({matrix[later][place]:+.2f})" for later in linked)
        lines = " \u00b7 ".join(told) + ("\nHang on it most: " + hang if hang else "")
        passages.append(Passage(text, sentences.shades[place], lines, linked))
    return passages


def _told(found: "Anchors", sentences: Sentences, place: int) -> list[str]:
    effect, received = importances(found.matrices[found.shown])[place], sentences.received[place]
    told = [] if effect is None else [f"effect on later ones {effect:+.2f}"]
    told += [] if received is None else [f"receiver heads give it {100 * received:.2f} % a token"]
    if found.resampled is None:
        return told
    one = found.resampled[place]
    told.append(f"another came in its place {one.different} times")
    if one.accuracy_with is not None and one.accuracy_without is not None:
        told.append(f"right {one.accuracy_with:.0%} with it, {one.accuracy_without:.0%} without")
    elif one.importance is not None:
        told.append(f"answers differ by {one.importance:.2f} nats")
    return told
