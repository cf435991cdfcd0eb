"""Archives of files, bytes that retention has removed, and readings that other models made beside the clinic's own.

PostgreSQL, whose integers end at 2 GB and whose texts sort by language, learns large files and the order of bytes.
"""

from collections.abc import Sequence
from types import ModuleType

import sqlalchemy as sa
from alembic import context, op
from alembic.operations import BatchOperations
from sqlalchemy.schema import SchemaItem

revision: str = "0003"
down_revision: str | Sequence[str] | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

MEDIA_TYPES = ("dicom", "png", "study.toml", "unknown")
OUTCOMES = ("pending", "analysed", "refused", "quarantined", "duplicate")
CONTAINER = "fk_received_file_container_id_received_file"
MODEL = "fk_report_model_id_model"

BYTE_ORDER = """
    DO $$
    DECLARE place record;
    BEGIN
        FOR place IN
            SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = current_schema() AND data_type = 'character varying' AND table_name IN (
                'study', 'instance', 'received_file', 'model', 'inference', 'finding', 'attended_region', 'report',
                'review'
            )
        LOOP
            EXECUTE 'ALTER TABLE ' || quote_ident(place.table_name)
                || ' ALTER COLUMN ' || quote_ident(place.column_name) || ' TYPE varchar COLLATE "C"';
        END LOOP;
    END $$
"""
"""An index in the order of a language is wrong after an update of the operating system that changes that order."""


def upgrade() -> None:
    """Add the columns and the new values. What the rows of before say stays as it is."""
    _drop_views()
    with op.batch_alter_table("received_file", copy_from=_received_file(MEDIA_TYPES, OUTCOMES, sa.Integer())) as table:
        table.add_column(sa.Column("container_id", sa.Integer(), nullable=True))
        table.add_column(sa.Column("removed_at", sa.DateTime(), nullable=True))
        table.create_foreign_key(CONTAINER, "received_file", ["container_id"], ["id"])
        table.alter_column("size", existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=False)
        _allow(table, (*MEDIA_TYPES, "zip"), (*OUTCOMES, "unpacked"))
    op.create_index(op.f("ix_received_file_container_id"), "received_file", ["container_id"])
    op.add_column("inference", sa.Column("beside", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("report", copy_from=_report()) as table:
        table.add_column(sa.Column("model_id", sa.Integer(), nullable=True))
        table.add_column(sa.Column("removed_at", sa.DateTime(), nullable=True))
        table.create_foreign_key(MODEL, "model", ["model_id"], ["id"])
    if op.get_context().dialect.name == "postgresql":
        op.execute(BYTE_ORDER)
    _note_what_reports_print()
    _make_views(
        more=",\n            inference.beside AS beside",
        which=" AND NOT {reading}.beside",
        which_report=" AND report.model_id IS NULL",
    )


def downgrade() -> None:
    """Take them away.

    An archive becomes a refused file of unknown type. Which bytes were removed, which readings stood beside, and what
    each report printed, is forgotten. Room for large files and the order of bytes stay: what was stored with them may
    need them.
    """
    _drop_views()
    op.drop_table("report_reading")
    with op.batch_alter_table("report", copy_from=_report(*_added("model_id", MODEL, "model"))) as table:
        table.drop_constraint(MODEL, type_="foreignkey")
        table.drop_column("model_id")
        table.drop_column("removed_at")
    op.drop_column("inference", "beside")
    op.execute("UPDATE received_file SET outcome = 'refused' WHERE outcome = 'unpacked'")
    op.execute("UPDATE received_file SET media_type = 'unknown' WHERE media_type = 'zip'")
    op.drop_index(op.f("ix_received_file_container_id"), "received_file")
    after = _received_file(
        (*MEDIA_TYPES, "zip"),
        (*OUTCOMES, "unpacked"),
        sa.BigInteger(),
        *_added("container_id", CONTAINER, "received_file"),
    )
    with op.batch_alter_table("received_file", copy_from=after) as table:
        table.drop_constraint(CONTAINER, type_="foreignkey")
        table.drop_column("container_id")
        table.drop_column("removed_at")
        _allow(table, MEDIA_TYPES, OUTCOMES)
    _make_views()


def _note_what_reports_print() -> None:
    """Write down the readings of each report. Until now an image was read once, before the report that prints it."""
    op.create_table(
        "report_reading",
        sa.Column("report_id", sa.Integer(), nullable=False),
        sa.Column("inference_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_report_reading_report_id_report")),
        sa.ForeignKeyConstraint(
            ["inference_id"], ["inference.id"], name=op.f("fk_report_reading_inference_id_inference")
        ),
        sa.PrimaryKeyConstraint("report_id", "inference_id", name=op.f("pk_report_reading")),
    )
    op.execute(
        """
        INSERT INTO report_reading (report_id, inference_id)
        SELECT report.id, max(inference.id)
        FROM report
        JOIN instance ON instance.study_id = report.study_id
        JOIN received_file ON received_file.instance_id = instance.id
        JOIN inference ON inference.file_id = received_file.id
        WHERE received_file.outcome = 'analysed'
          AND received_file.decided_at <= report.created_at AND inference.created_at <= report.created_at
        GROUP BY report.id, received_file.id
        """
    )


def _allow(table: BatchOperations, media_types: Sequence[str], outcomes: Sequence[str]) -> None:
    """Let the two columns hold other values than before."""
    for name, values in (("media_type", media_types), ("outcome", outcomes)):
        constraint = op.f(f"ck_received_file_{name}")
        table.drop_constraint(constraint, type_="check")
        table.create_check_constraint(constraint, _one_of(name, values))


def _added(column: str, constraint: str, references: str) -> tuple[SchemaItem, ...]:
    return (
        sa.Column(column, sa.Integer(), nullable=True),
        sa.Column("removed_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint([column], [f"{references}.id"], name=constraint),
    )


# SQLite cannot alter a constraint: Alembic makes the table anew, from these.


def _received_file(
    media_types: Sequence[str], outcomes: Sequence[str], size: sa.Integer, *added: SchemaItem
) -> sa.Table:
    return sa.Table(
        "received_file",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instance_id", sa.Integer(), nullable=True),
        sa.Column("original_name", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("size", size, nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("arrival", sa.String(), nullable=True),
        sa.Column("stored_path", sa.String(), nullable=False),
        sa.Column("quarantine_path", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason_code", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("decided_at", sa.DateTime(), nullable=True),
        sa.Column("header", sa.JSON(), nullable=False),
        sa.Column("picture_sha256", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.CheckConstraint(_one_of("media_type", media_types), name=op.f("ck_received_file_media_type")),
        sa.CheckConstraint(_one_of("outcome", outcomes), name=op.f("ck_received_file_outcome")),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name=op.f("fk_received_file_instance_id_instance")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_received_file")),
        sa.UniqueConstraint("arrival", name=op.f("uq_received_file_arrival")),
        *added,
        sa.Index(op.f("ix_received_file_instance_id"), "instance_id"),
        sa.Index(op.f("ix_received_file_outcome_id"), "outcome", "id"),
        sa.Index(op.f("ix_received_file_sha256"), "sha256"),
    )


def _report(*added: SchemaItem) -> sa.Table:
    return sa.Table(
        "report",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("study_revision", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("software_version", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_report_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("study_id", "version", name=op.f("uq_report_study_id_version")),
        *added,
    )


def _one_of(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def _drop_views() -> None:
    for view in ("review_list", "study_summary", "finding_list"):
        op.execute(f"DROP VIEW {view}")


def _make_views(more: str = "", which: str = "", which_report: str = "") -> None:
    dialect = op.get_context().dialect.name
    op.execute(_script("0001").finding_list(dialect, more))
    op.execute(_script("0001").study_summary(dialect, which, which_report))
    op.execute(_script("0002").review_list(dialect))


def _script(of_revision: str) -> ModuleType:
    """An earlier migration: each view is written once."""
    script = context.script.get_revision(of_revision)
    if script is None:
        raise LookupError(of_revision)
    return script.module
