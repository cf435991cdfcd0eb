"""Reviews: a physician's verdicts beside the model's findings, and the view that lists them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table and its view. No row that was there before is touched."""
    op.create_table(
        "review",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("finding_id", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("reviewed_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("verdict IN ('present', 'absent', 'uncertain', 'cleared')", name=op.f("ck_review_verdict")),
        sa.ForeignKeyConstraint(["finding_id"], ["finding.id"], name=op.f("fk_review_finding_id_finding")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
    )
    op.create_index(op.f("ix_review_finding_id"), "review", ["finding_id"])
    op.execute(review_list(op.get_context().dialect.name))


def downgrade() -> None:
    """Remove both. The verdicts are lost; the findings stay."""
    op.execute("DROP VIEW review_list")
    op.drop_table("review")


def review_list(dialect: str) -> str:
    """The view with a row a review. `agcnn_clinic.database.views` says what its columns mean."""
    # CROSS JOIN keeps SQLite to this order, from the image outwards: left to choose, it reads all reviews for each.
    return f"""
        CREATE VIEW review_list AS
        SELECT
            review.id AS review_id,
            finding.id AS finding_id,
            finding.inference_id AS inference_id,
            study.key AS study_key,
            study.study_instance_uid AS study_instance_uid,
            study.patient_id AS patient_id,
            study.accession_number AS accession_number,
            study.study_date AS study_date,
            instance.sop_instance_uid AS sop_instance_uid,
            finding.label AS label,
            review.verdict AS verdict,
            NOT EXISTS (
                SELECT 1
                FROM received_file AS other_file
                CROSS JOIN inference AS other_reading
                CROSS JOIN finding AS other
                CROSS JOIN review AS later
                WHERE other_file.instance_id = instance.id
                  AND other_reading.file_id = other_file.id
                  AND other.inference_id = other_reading.id
                  AND other.label = finding.label
                  AND later.finding_id = other.id
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
        JOIN finding ON finding.id = review.finding_id
        JOIN inference ON inference.id = finding.inference_id
        JOIN model ON model.id = inference.model_id
        JOIN received_file ON received_file.id = inference.file_id
        JOIN instance ON instance.id = received_file.instance_id
        JOIN study ON study.id = instance.study_id
        {"ORDER BY review.id DESC" if dialect == "sqlite" else ""}
    """  # noqa: S608 (constants of this file)


def _iso_time(dialect: str, column: str) -> str:
    # As in 0001: the form that every reader of tables knows, in UTC.
    if dialect == "sqlite":
        return f"replace({column}, ' ', 'T') || 'Z'"
    return f"""to_char({column}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
