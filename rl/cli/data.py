"""Commands that make data: distill, and the probe that it may look for echoes with."""

from pathlib import Path
from typing import Annotated

import typer

from rl.cli.app import Overlays, Overrides, RecipeName, fail, patient_console


def probe(
    pairs: Annotated[
        Path, typer.Argument(metavar="PAIRS", help=".jsonl or .parquet with question, sentence and restates.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it, such as probe.safetensors.")],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="A model of sentence-transformers, by folder or hub name.")
    ] = "sentence-transformers/all-MiniLM-L6-v2",
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of its weights.")] = 0,
) -> None:
    """Train a probe that tells whether a sentence restates a question (arXiv 2602.06600), from pairs that say so.

    It reads the embeddings of both. Pairs of every fifth question are kept back to check it. A recipe takes it as
    distill.detection.similarity.probe, with the same model.
    """
    console = patient_console()
    if out.exists():
        fail(f"{out}: is there already and is never overwritten; give --out another name")
    if not out.parent.is_dir():
        fail(f"{out.parent}: there is no such folder")
    with console.status("loading"):
        from rl.echo import probe as probes
        from rl.echo.embedding import Embedding
        from rl.telemetry.logs import quiet_libraries

        quiet_libraries()
        told = probes.read_pairs(pairs)
        embedding = Embedding(model)
    kept, checked = probes.hold_out(told)
    with console.status("training"):
        trained = probes.train_probe(embedding, kept, seed=seed)
        right = f"{probes.accuracy(embedding, trained, checked):.3f} of {len(checked)}" if checked else "none"
    probes.save_probe(trained, out)
    console.print(f"{out}: from {len(kept)} pairs; right on those kept back: {right}", highlight=False, markup=False)


def distill(
    name: RecipeName,
    overrides: Overrides = None,
    overlays: Overlays = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the data; by default data/<recipe>.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")] = False,
) -> None:
    """Make data for fine-tuning from a teacher's traces of RECIPE's prompts, as its distill section says.

    Every trace is verified by the recipe's rewards, given an echo of its question or stripped of it, and verified
    again. Three paired sets come of it: echo.parquet, plain.parquet, and matched.parquet with neutral words as long.
    Beside them are a card (README.md, card.json) with counts, and what was dropped and why (dropped.jsonl).
    """
    from rl.recipe import load

    recipe = load(name, overrides or [], overlays or [])
    folder = out or Path("data") / recipe.name
    console = patient_console()
    with console.status("loading"):
        from rl.distill.distill import distill as make
        from rl.telemetry.logs import quiet_libraries

        quiet_libraries()
    try:
        sets = make(recipe, folder, resume, console)
    except KeyboardInterrupt:
        typer.echo(f"rhythm: stopped; what the teacher said is kept; go on with --resume --out {folder}", err=True)
        raise
    dropped = sum(sets.dropped.values())
    console.print(f"{folder}: {sets.pairs} rows in each of 3 sets; dropped {dropped}:", highlight=False, markup=False)
    for reason, number in sets.dropped.most_common():
        console.print(f"  {number:6}  {reason}", highlight=False, markup=False)
    if not sets.pairs:
        console.print(
            f"nothing is left to train on; {folder / 'dropped.jsonl'} says why, prompt by prompt", markup=False
        )
