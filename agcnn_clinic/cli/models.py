"""models: which models there are, what they are, whether they are whole, and which one the clinic reads with."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agcnn_clinic.cli.context import GlobalOptions, clinic_config, clinic_database, write_setting
from agcnn_clinic.cli.formats import Column, Row, printable
from agcnn_clinic.cli.output import Format, Printing, Shown, print_rows
from agcnn_clinic.errors import ConfigError, DatabaseError, ModelUnavailableError, UsageError
from agcnn_clinic.moments import utc_now

if TYPE_CHECKING:
    from agcnn_clinic.config import Config
    from agcnn_clinic.database.readings import ReadBy
    from agcnn_models.importing import Provenance
    from agcnn_models.manifest import Manifest

models_app = typer.Typer(no_args_is_help=True, help="The models: list, show, verify, use, import.")

_COLUMNS = tuple(map(Column, ("current", "name", "version", "backbone", "measured", "read", "folder")))
_SHOWN = (
    Shown("current", ""),
    Shown("name", "name"),
    Shown("version", "version"),
    Shown("backbone", "backbone", rank=3),
    Shown("measured", "mean AUC (95% interval)", rank=2),
    Shown("read", "images read", rank=1),
    Shown("folder", "folder", whole=lambda folder: [folder]),
)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="The name of a bundle that ships, or the folder of one.")]


@models_app.command("list")
def list_models(ctx: typer.Context) -> None:
    """The models that ship, the one that the clinic reads with (marked *), and what each has read here."""
    from agcnn_clinic.bundles import known_bundles
    from agcnn_models.manifest import digest, limits

    current = _current(ctx)
    folders = known_bundles()
    if current is not None and current not in folders:
        folders.append(current)
    readers = _readers(ctx)
    rows, told = [], []
    for folder in folders:
        manifest = manifest_of(folder)
        told += [f"{manifest.name} {manifest.version}: {sentence}" for sentence in limits(manifest)]
        described = (manifest.name, manifest.version, manifest.backbone, _measured(manifest))
        has_read = _has_read(readers.pop(digest(manifest), None))
        rows.append(_row("*" if folder == current else "", *described, has_read, str(folder)))
    for reader in readers.values():
        model = reader.model
        rows.append(_row("", model.name, model.version, model.manifest.get("backbone", ""), "", _has_read(reader), ""))
    print_rows(rows, _COLUMNS, Printing(Format.TABLE), shown=_SHOWN)
    for sentence in told:
        typer.echo(sentence)


@models_app.command("show")
def show_model(ctx: typer.Context, model: Name = "") -> None:
    """All that a model's manifest and card say. Default: the model that the clinic reads with."""
    folder = _folder(ctx, model)
    manifest_of(folder)
    for name in ("MODEL_CARD.md", "manifest.toml"):
        # A bundle may come from anybody: its text must not reach the terminal as commands.
        for line in (folder / name).read_text(encoding="utf-8", errors="replace").splitlines():
            typer.echo(printable(line))


@models_app.command("verify")
def verify_model(ctx: typer.Context, model: Name = "") -> None:
    """Check a model's hash, keys and shapes by loading it. Default: the model that the clinic reads with."""
    from agcnn_models.bundle import verify_bundle
    from agcnn_models.errors import ModelError

    folder = _folder(ctx, model)
    try:
        manifest = verify_bundle(folder).manifest
    except ModelError as error:
        raise ModelUnavailableError(str(error)) from error
    typer.echo(f"{manifest.name} {manifest.version} is whole: SHA-256 {manifest.weights.sha256}")


@models_app.command("use")
def use_model(ctx: typer.Context, model: Name) -> None:
    """Read with this model from now on: verifies it and writes it into config.toml."""
    from agcnn_clinic.bundles import bundle_folder, known_bundles
    from agcnn_clinic.config import find_config, load_config
    from agcnn_clinic.database import trail
    from agcnn_models.bundle import verify_bundle
    from agcnn_models.errors import ModelError
    from agcnn_models.manifest import digest, limits

    config = clinic_config(ctx)
    folder = bundle_folder(model, Path.cwd())
    path = find_config(ctx.ensure_object(GlobalOptions).config)
    with clinic_database(config) as database:
        try:
            manifest = verify_bundle(folder).manifest
        except ModelError as error:
            trail.model_refused(database, model, error, utc_now())
            raise ModelUnavailableError(str(error)) from error
        named = model if folder in known_bundles() else str(folder.resolve())
        with database.transaction() as connection:
            write_setting(path, "analysis", "model", named)
            now = utc_now()
            trail.configured(connection, load_config(path), now)
            identity = trail.ModelIdentity(manifest.name, manifest.version, digest(manifest))
            trail.reads_with(connection, identity, now)
    typer.echo(f"{config.root} reads with {manifest.name} {manifest.version} from now on; restart a running watch.")
    for sentence in limits(manifest):
        typer.echo(sentence)
    if sentence := _left_to_read(config, manifest):
        typer.echo(sentence)


class ImportAs(StrEnum):
    """What imported weights are for: the values of `agcnn_models.importing.Role`, which a test compares."""

    INIT = "init"
    GLOBAL = "global"


class ImportLayout(StrEnum):
    """Which program saved them: the values of `agcnn_models.layouts.Layout`, which a test compares."""

    AUTO = "auto"
    TORCHVISION = "torchvision"
    TORCHXRAYVISION = "torchxrayvision"
    CHEXNET = "chexnet"


@models_app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A state dict: .pth, .pt, .pth.tar or .safetensors.")],
    out: Annotated[Path, typer.Option(metavar="OUT.safetensors", help="The file to write.")],
    role: Annotated[
        ImportAs,
        typer.Option("--as", help="init: where training begins, without a classifier. global: a trained branch."),
    ] = ImportAs.INIT,
    layout: Annotated[
        ImportLayout,
        typer.Option(help="The program that saved it. auto finds it out, but not that outputs are CheXNet's."),
    ] = ImportLayout.AUTO,
    outputs: Annotated[
        str,
        typer.Option(
            metavar="A,B,...", help="What its outputs mean, in order, where the layout does not say so (--as global)."
        ),
    ] = "",
) -> None:
    """Turn weights of torchvision, torchxrayvision or CheXNet into a file that `train` begins with.

    `train --init OUT` begins both branches with it; one made `--as global` is also a trained global branch, for
    `train --init-global OUT`. Files that hold more than tensors are refused: reading them could run code.
    """
    from agcnn_clinic.durable import led_to, write_atomically
    from agcnn_models.errors import ModelError
    from agcnn_models.foreign import SAFETENSORS
    from agcnn_models.importing import Role, import_weights
    from agcnn_models.layouts import Layout

    if out.suffix != SAFETENSORS:
        raise UsageError(f"{out} does not end in {SAFETENSORS}: name it so, since its ending tells how it is read.")
    if out.exists():
        raise UsageError(f"{out} exists already: name a new file.")
    known = None if layout is ImportLayout.AUTO else Layout(layout)
    try:
        imported = import_weights(file, Role(role), known, [name.strip() for name in outputs.split(",") if outputs])
    except ModelError as error:
        advice = " (agcnn-clinic --debug models import ... lists them all)" if hasattr(error, "__notes__") else ""
        raise ModelUnavailableError(f"{error}{advice}.") from error
    try:
        write_atomically(led_to(out), imported.content())
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.") from error
    for line in _told(imported.provenance, out):
        typer.echo(line)


def _told(provenance: "Provenance", out: Path) -> list[str]:
    """What was imported, what was changed, and what it is good for."""
    lines = [
        f"{out}: {provenance.backbone}, {provenance.pooling} pooling, from {provenance.source} ({provenance.layout}).",
        *provenance.changes,
    ]
    if provenance.lacking:
        lines.append(f"Without an output of its own, so with a constant one: {', '.join(provenance.lacking)}.")
    lines.append(f"Begin with it: agcnn-clinic train --init{'-global' if provenance.labels else ''} {out} ...")
    return lines


def _row(*values: str) -> Row:
    return {column.name: value for column, value in zip(_COLUMNS, values, strict=True)}


def _current(ctx: typer.Context) -> Path | None:
    from agcnn_clinic.bundles import configured_bundle

    try:
        return configured_bundle(clinic_config(ctx))
    except (ConfigError, ModelUnavailableError):
        return None


def _folder(ctx: typer.Context, model: str) -> Path:
    from agcnn_clinic.bundles import bundle_folder, configured_bundle

    return bundle_folder(model, Path.cwd()) if model else configured_bundle(clinic_config(ctx))


def _readers(ctx: typer.Context) -> "dict[str, ReadBy]":
    """What each model has read, by its manifest's hash; nothing outside of a clinic."""
    from agcnn_clinic.database.readings import read_by_models

    try:
        with clinic_database(clinic_config(ctx)) as database, database.session() as session:
            return {reader.model.manifest_sha256: reader for reader in read_by_models(session)}
    except (ConfigError, DatabaseError):
        return {}


def _has_read(reader: "ReadBy | None") -> str:
    if reader is None:
        return "-"
    beside = reader.images - reader.counting
    return f"{reader.images} ({beside} beside)" if beside else str(reader.images)


def _left_to_read(config: "Config", manifest: "Manifest") -> str:
    """What `reanalyse` would do now; empty where nothing was read by another model, or without a database."""
    from agcnn_clinic.cli.reanalyse import would
    from agcnn_clinic.database.readings import Scope, outlook
    from agcnn_models.manifest import digest

    try:
        with clinic_database(config) as database, database.session() as session:
            ahead = outlook(session, digest(manifest), Scope(), counts=True)
    except DatabaseError:
        return ""
    if not ahead.studies:
        return ""
    told = would(manifest, ahead, counts=True, sent_to=config.sending.to)
    return f"What was read before keeps its readings until `agcnn-clinic reanalyse --all`: {told}"


def manifest_of(folder: Path) -> "Manifest":
    """What a bundle says of its weights.

    Raises:
        ModelUnavailableError: it is no bundle, or contradicts itself.
    """
    from agcnn_models.errors import ModelError
    from agcnn_models.manifest_file import read_manifest

    try:
        return read_manifest(folder)
    except ModelError as error:
        raise ModelUnavailableError(str(error)) from error


def _measured(manifest: "Manifest") -> str:
    from agcnn_models.labels import PATHOLOGIES
    from agcnn_models.manifest import BranchName

    fusion = manifest.metrics.branches.get(BranchName.FUSION) if manifest.metrics else None
    if fusion is None:
        return "not measured"
    labels = len(fusion.auc)
    over = f" over {labels} of {len(PATHOLOGIES)} labels" if labels < len(PATHOLOGIES) else ""
    return f"{fusion.mean_auc:.3f} ({fusion.ci_low:.3f} to {fusion.ci_high:.3f}){over}"
