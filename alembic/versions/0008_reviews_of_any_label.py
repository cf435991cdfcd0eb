"""Reviews of any label, also of one that the model which read the image does not assess, and so has no finding of.

A review named its finding. It names the reading and the label now, of which a finding is one where there is one.

The software that brings this also makes a report due where a duplicate names another patient than its study. No
report told of those that came before, and none would be due for a later one of the same image: they are made due here.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import context, op

revision: str = "0008"
down_revision: str | Sequence[str] | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OLD_INDEX, NEW_INDEX = "ix_review_finding_id", "ix_review_inference_id_label"
OF_FINDING, OF_INFERENCE = "fk_review_finding_id_finding", "fk_review_inference_id_inference"

NAME_THE_READING = """
    UPDATE review SET
        inference_id = (SELECT finding.inference_id FROM finding WHERE finding.id = review.finding_id),
        label = (SELECT finding.label FROM finding WHERE finding.id = review.finding_id)
"""
NAME_THE_FINDING = """
    UPDATE review SET finding_id = (
        SELECT finding.id FROM finding
        WHERE finding.inference_id = review.inference_id AND finding.label = review.label
    )
"""
# The header is JSON in both, and in PostgreSQL no text.
TELL_OF_CORRECTED_PATIENTS = """
    UPDATE study SET revision = revision + 1 WHERE id IN (
        SELECT instance.study_id FROM instance JOIN received_file ON received_file.instance_id = instance.id
        WHERE received_file.reason_code = 'header_differs'
            AND CAST(received_file.header AS TEXT) LIKE '%"other_patient"%'
    )
"""


def upgrade() -> None:
    """Let each review name its finding's reading and label instead. No verdict changes."""
    op.execute(TELL_OF_CORRECTED_PATIENTS)
    op.execute("DROP VIEW review_list")
    for column in _of_reading(nullable=True):
        op.add_column("review", column)
    op.execute(NAME_THE_READING)
    op.drop_index(op.f(OLD_INDEX), table_name="review")
    before = _review(_of_finding(nullable=False), *_of_reading(nullable=True), _refers(OF_FINDING, "finding"))
    with op.batch_alter_table("review", copy_from=before) as table:
        table.alter_column("inference_id", existing_type=sa.Integer(), nullable=False)
        table.alter_column("label", existing_type=_text(), nullable=False)
        table.create_foreign_key(OF_INFERENCE, "inference", ["inference_id"], ["id"])
        table.drop_constraint(OF_FINDING, type_="foreignkey")
        table.drop_column("finding_id")
    op.create_index(op.f(NEW_INDEX), "review", ["inference_id", "label"])
    op.execute(review_list(op.get_context().dialect.name))


def downgrade() -> None:
    """Let each review name its finding again. Those of labels without a finding are lost."""
    op.execute("DROP VIEW review_list")
    op.add_column("review", _of_finding(nullable=True))
    op.execute(NAME_THE_FINDING)
    op.execute("DELETE FROM review WHERE finding_id IS NULL")
    op.drop_index(op.f(NEW_INDEX), table_name="review")
    before = _review(_of_finding(nullable=True), *_of_reading(nullable=False), _refers(OF_INFERENCE, "inference"))
    with op.batch_alter_table("review", copy_from=before) as table:
        table.alter_column("finding_id", existing_type=sa.Integer(), nullable=False)
        table.create_foreign_key(OF_FINDING, "finding", ["finding_id"], ["id"])
        table.drop_constraint(OF_INFERENCE, type_="foreignkey")
        table.drop_column("inference_id")
        table.drop_column("label")
    op.create_index(op.f(OLD_INDEX), "review", ["finding_id"])
    script = context.script.get_revision("0002")
    if script is None:
        raise LookupError("0002")
    op.execute(script.module.review_list(op.get_context().dialect.name))


def _text() -> sa.String:
    # As 0003 has it: in the order of bytes.
    return sa.String(collation="C") if op.get_context().dialect.name == "postgresql" else sa.String()


def _of_reading(*, nullable: bool) -> tuple[sa.Column[int], sa.Column[str]]:
    return sa.Column("inference_id", sa.Integer(), nullable=nullable), sa.Column("label", _text(), nullable=nullable)


def _of_finding(*, nullable: bool) -> sa.Column[int]:
    return sa.Column("finding_id", sa.Integer(), nullable=nullable)


def _refers(name: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([f"{to}_id"], [f"{to}.id"], name=op.f(name))


def _review(*more: sa.schema.SchemaItem) -> sa.Table:
    """The table, which SQLite cannot alter and Alembic makes anew from this."""
    return sa.Table(
        "review",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("verdict IN ('present', 'absent', 'uncertain', 'cleared')", name=op.f("ck_review_verdict")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        *more,
    )


def review_list(dialect: str) -> str:
    """The view with a row a review. `agcnn_clinic.database.views` says what its columns mean."""
    # CROSS JOIN keeps SQLite to this order, from the image outwards: left to choose, it reads all reviews for each.
    return f"""
        CREATE VIEW review_list AS
        SELECT
            review.id AS review_id,
            finding.id AS finding_id,
            review.inference_id AS inference_id,
            study.key AS study_key,
            study.study_instance_uid AS study_instance_uid,
            study.patient_id AS patient_id,
            study.accession_number AS accession_number,
            study.study_date AS study_date,
            instance.sop_instance_uid AS sop_instance_uid,
            review.label AS label,
            review.verdict AS verdict,
            NOT EXISTS (
                SELECT 1
                FROM received_file AS other_file
                CROSS JOIN inference AS other_reading
                CROSS JOIN review AS later
                WHERE other_file.instance_id = instance.id
                  AND other_reading.file_id = other_file.id
                  AND later.inference_id = other_reading.id
                  AND later.label = review.label
                  AND later.id > review.id
            ) AS newest,
            finding.probability AS probability,
            finding.threshold AS threshold,
            finding.positive AS positive,
            model.name AS model_name,
            model.version AS model_version,
            model.weights_sha256 AS weights_sha256,
            review.reviewer AS reviewer,
            review.note AS note,
            {_iso_time(dialect, "review.reviewed_at")} AS reviewed_at
        FROM review
        JOIN inference ON inference.id = review.inference_id
        JOIN model ON model.id = inference.model_id
        JOIN received_file ON received_file.id = inference.file_id
        JOIN instance ON instance.id = received_file.instance_id
        JOIN study ON study.id = instance.study_id
        LEFT JOIN finding ON finding.inference_id = review.inference_id AND finding.label = review.label
        {"ORDER BY review.id DESC" if dialect == "sqlite" else ""}
    """  # noqa: S608 (constants of this file)


def _iso_time(dialect: str, column: str) -> str:
    # As in 0001: the form that every reader of tables knows, in UTC.
    if dialect == "sqlite":
        return f"replace({column}, ' ', 'T') || 'Z'"
    return f"""to_char({column}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
