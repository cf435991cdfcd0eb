"""``python -m agcnn_training``: training without the clinic around it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from agcnn_models.errors import ModelError
from agcnn_training.distributed import rank
from agcnn_training.errors import TrainingError, TrainingStopped
from agcnn_training.train import TrainRequest, train


def main(
    data: Annotated[Path, typer.Option(help="The root of ChestX-ray14, or a label table (CSV, parquet).")],
    out: Annotated[Path, typer.Option(help="The bundle to write.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the images, where not beside the labels.")] = None,
    recipe: Annotated[str, typer.Option(help="A recipe's name or the path of a TOML file.")] = "table1-densenet121",
    init: Annotated[Path | None, typer.Option(help="Initial backbone weights (.pth or .safetensors).")] = None,
    init_global: Annotated[
        Path | None, typer.Option(help="A trained global branch, which replaces the first stage.")
    ] = None,
    pretrain_data: Annotated[Path | None, typer.Option(help="Label table of further films (image, class).")] = None,
    pretrain_images: Annotated[Path | None, typer.Option(help="Folder of their images.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Go on without films that are missing.")] = False,
    boxes: Annotated[Path | None, typer.Option(help="Table of lesion boxes; ChestX-ray14 brings its own.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of film caches.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="How many read images side by side.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; a GPU when there is one.")] = None,
) -> None:
    """Train AG-CNN by Algorithm 1 and write it as a bundle."""
    console = Console(stderr=True)
    request = TrainRequest(
        data=data,
        images=images,
        recipe=recipe,
        out=out,
        init=init,
        global_weights=init_global,
        pretrain_data=pretrain_data,
        pretrain_images=pretrain_images,
        resume=resume,
        partial=partial,
        boxes=boxes,
        cache=cache,
        workers=workers,
        device=device,
    )
    try:
        bundle = train(request, console)
        if rank() == 0:
            typer.echo(bundle)
    except (TrainingError, ModelError) as error:
        # Of several processes each says what went wrong with it; all of them stop when asked, so one says that.
        if rank() == 0:
            console.print(str(error), highlight=False, markup=False, soft_wrap=True)
        elif not isinstance(error, TrainingStopped):
            console.print(f"Process {rank()}: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(3 if isinstance(error, ModelError) else 1) from error


if __name__ == "__main__":
    typer.run(main)
