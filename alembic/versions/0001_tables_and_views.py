"""All tables and both views of version 0.1.

What is written here stays: a later change is a revision of its own, which adds.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

LABEL_COLUMNS = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "effusion",
    "Infiltration": "infiltration",
    "Mass": "mass",
    "Nodule": "nodule",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Emphysema": "emphysema",
    "Fibrosis": "fibrosis",
    "Pleural_Thickening": "pleural_thickening",
    "Hernia": "hernia",
    "No Finding": "no_finding",
}
OUTCOMES = ("pending", "analysed", "refused", "quarantined", "duplicate")


def upgrade() -> None:
    """Make the tables, then the views over them."""
    op.create_table(
        "study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("patient_id", sa.String(), nullable=False),
        sa.Column("patient_name", sa.String(), nullable=False),
        sa.Column("patient_sex", sa.String(), nullable=False),
        sa.Column("patient_birth_date", sa.String(), nullable=False),
        sa.Column("study_date", sa.String(), nullable=False),
        sa.Column("study_time", sa.String(), nullable=False),
        sa.Column("accession_number", sa.String(), nullable=False),
        sa.Column("study_description", sa.String(), nullable=False),
        sa.Column("referring_physician_name", sa.String(), nullable=False),
        sa.Column("institution_name", sa.String(), nullable=False),
        sa.Column("first_received_at", sa.DateTime(), nullable=False),
        sa.Column("last_received_at", sa.DateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("key", name=op.f("uq_study_key")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_study_study_instance_uid")),
    )
    for column in ("accession_number", "last_received_at", "patient_id", "study_date"):
        op.create_index(op.f(f"ix_study_{column}"), "study", [column])
    op.create_table(
        "instance",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_instance_study_id_study")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_instance_sop_instance_uid")),
    )
    op.create_index(op.f("ix_instance_study_id"), "instance", ["study_id"])
    op.create_table(
        "received_file",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instance_id", sa.Integer(), nullable=True),
        sa.Column("original_name", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
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
        sa.CheckConstraint(
            "media_type IN ('dicom', 'png', 'study.toml', 'unknown')", name=op.f("ck_received_file_media_type")
        ),
        sa.CheckConstraint(
            "outcome IN ('pending', 'analysed', 'refused', 'quarantined', 'duplicate')",
            name=op.f("ck_received_file_outcome"),
        ),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name=op.f("fk_received_file_instance_id_instance")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_received_file")),
        sa.UniqueConstraint("arrival", name=op.f("uq_received_file_arrival")),
    )
    op.create_index(op.f("ix_received_file_instance_id"), "received_file", ["instance_id"])
    op.create_index(op.f("ix_received_file_outcome_id"), "received_file", ["outcome", "id"])
    op.create_index(op.f("ix_received_file_sha256"), "received_file", ["sha256"])
    op.create_table(
        "model",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("weights_sha256", sa.String(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("registered_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("manifest_sha256", name=op.f("uq_model_manifest_sha256")),
    )
    op.create_table(
        "inference",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("file_id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("software_version", sa.String(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("thresholds_id", sa.String(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("quality", sa.JSON(), nullable=False),
        sa.Column("timings", sa.JSON(), nullable=False),
        sa.Column("heat_map", sa.LargeBinary(), nullable=False),
        sa.Column("heat_map_rows", sa.Integer(), nullable=False),
        sa.Column("heat_map_columns", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["received_file.id"], name=op.f("fk_inference_file_id_received_file")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_inference_model_id_model")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inference")),
        sa.UniqueConstraint("file_id", "model_id", name=op.f("uq_inference_file_id_model_id")),
    )
    op.create_index(op.f("ix_inference_created_at"), "inference", ["created_at"])
    op.create_index(op.f("ix_inference_model_id"), "inference", ["model_id"])
    op.create_table(
        "finding",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("inference_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("probability_global", sa.Double(), nullable=False),
        sa.Column("probability_local", sa.Double(), nullable=False),
        sa.Column("probability_fusion", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("positive", sa.Boolean(), nullable=True),
        sa.ForeignKeyConstraint(["inference_id"], ["inference.id"], name=op.f("fk_finding_inference_id_inference")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_finding")),
        sa.UniqueConstraint("inference_id", "label", name=op.f("uq_finding_inference_id_label")),
    )
    op.create_index(op.f("ix_finding_label_probability"), "finding", ["label", "probability"])
    op.create_table(
        "attended_region",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("inference_id", sa.Integer(), nullable=False),
        sa.Column("x_min", sa.Double(), nullable=False),
        sa.Column("y_min", sa.Double(), nullable=False),
        sa.Column("x_max", sa.Double(), nullable=False),
        sa.Column("y_max", sa.Double(), nullable=False),
        sa.Column("width_mm", sa.Double(), nullable=True),
        sa.Column("height_mm", sa.Double(), nullable=True),
        sa.Column("spacing_source", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["inference_id"], ["inference.id"], name=op.f("fk_attended_region_inference_id_inference")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attended_region")),
        sa.UniqueConstraint("inference_id", name=op.f("uq_attended_region_inference_id")),
    )
    op.create_table(
        "report",
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
    )
    dialect = op.get_context().dialect.name
    op.execute(finding_list(dialect))
    op.execute(study_summary(dialect))


def downgrade() -> None:
    """Remove everything."""
    for view in ("study_summary", "finding_list"):
        op.execute(f"DROP VIEW {view}")
    for table in (
        *("report", "attended_region", "finding", "inference", "model"),
        *("received_file", "instance", "study"),
    ):
        op.drop_table(table)


def finding_list(dialect: str, more: str = "") -> str:
    """The view with a row a finding. `agcnn_clinic.database.views` says what its columns mean.

    Args:
        dialect: the database's.
        more: further columns, as a later revision adds them.
    """
    return f"""
        CREATE VIEW finding_list AS
        SELECT
            finding.id AS finding_id,
            finding.inference_id AS inference_id,
            received_file.id AS file_id,
            study.key AS study_key,
            study.study_instance_uid AS study_instance_uid,
            study.patient_id AS patient_id,
            study.patient_name AS patient_name,
            study.patient_sex AS patient_sex,
            study.patient_birth_date AS patient_birth_date,
            study.accession_number AS accession_number,
            study.study_date AS study_date,
            instance.series_instance_uid AS series_instance_uid,
            instance.sop_instance_uid AS sop_instance_uid,
            {_json_text(dialect, "received_file.header", "view_position")} AS view_position,
            finding.label AS label,
            finding.probability AS probability,
            finding.threshold AS threshold,
            finding.positive AS positive,
            finding.probability_global AS probability_global,
            finding.probability_local AS probability_local,
            finding.probability_fusion AS probability_fusion,
            model.name AS model_name,
            model.version AS model_version,
            model.weights_sha256 AS weights_sha256,
            inference.thresholds_id AS thresholds_id,
            inference.software_version AS software_version,
            {_iso_time(dialect, "inference.created_at")} AS created_at{more}
        FROM finding
        JOIN inference ON inference.id = finding.inference_id
        JOIN model ON model.id = inference.model_id
        JOIN received_file ON received_file.id = inference.file_id
        JOIN instance ON instance.id = received_file.instance_id
        JOIN study ON study.id = instance.study_id
        {_order(dialect, "finding.inference_id DESC, finding.id")}
    """  # noqa: S608 (constants of this file)


def study_summary(dialect: str, which: str = "", which_report: str = "") -> str:
    """The view with a row a study, a column a label.

    Args:
        dialect: the database's.
        which: a further condition on the readings that count, as a later revision sets it; `{reading}` is their table.
        which_report: a further condition on the reports that count.
    """
    # CROSS JOIN keeps SQLite to this order, from the study outwards, and CASE keeps it from the index of outcomes.
    # Left to choose, it reads every file of an outcome, and every finding of a label, for each study.
    files = """
        FROM instance CROSS JOIN received_file
        WHERE instance.study_id = study.id AND received_file.instance_id = instance.id"""
    newest = f"""
        FROM instance CROSS JOIN received_file CROSS JOIN inference CROSS JOIN finding
        WHERE instance.study_id = study.id
          AND received_file.instance_id = instance.id
          AND inference.file_id = received_file.id
          AND finding.inference_id = inference.id{which.format(reading="inference")}
          AND NOT EXISTS (
              SELECT 1 FROM inference AS later
              WHERE later.file_id = inference.file_id AND later.id > inference.id{which.format(reading="later")}
          )"""  # noqa: S608 (constants of the migrations)
    newest_report = f"FROM report WHERE report.study_id = study.id{which_report} ORDER BY report.version DESC LIMIT 1"
    counts = ",".join(
        f"(SELECT count(CASE WHEN received_file.outcome = '{outcome}' THEN 1 END) {files}) AS files_{outcome}"
        for outcome in OUTCOMES
    )
    labels = ",".join(
        f"(SELECT max(finding.probability) {newest} AND finding.label = '{label}') AS {column}"
        for label, column in LABEL_COLUMNS.items()
    )
    # SQLite sorts by bytes already.
    order = "" if dialect == "sqlite" else ' COLLATE "C"'
    positive = f"SELECT DISTINCT finding.label{order} AS label {newest} AND finding.positive ORDER BY label"
    joined = "group_concat(label, '|')" if dialect == "sqlite" else "string_agg(label, '|')"
    return f"""
        CREATE VIEW study_summary AS
        SELECT
            study.id AS study_id,
            study.key AS study_key,
            study.study_instance_uid AS study_instance_uid,
            study.patient_id AS patient_id,
            study.patient_name AS patient_name,
            study.patient_sex AS patient_sex,
            study.patient_birth_date AS patient_birth_date,
            study.accession_number AS accession_number,
            study.study_date AS study_date,
            study.study_description AS study_description,
            {_iso_time(dialect, "study.first_received_at")} AS first_received_at,
            {_iso_time(dialect, "study.last_received_at")} AS last_received_at,
            study.revision AS revision,
            (SELECT count(*) FROM instance WHERE instance.study_id = study.id) AS instances,
            {counts},
            (SELECT {joined} FROM ({positive}) AS positive) AS positive_labels,
            {labels},
            (SELECT report.version {newest_report}) AS report_version,
            (SELECT report.study_revision {newest_report}) AS report_revision,
            (SELECT report.path {newest_report}) AS report_path,
            (SELECT {_iso_time(dialect, "report.created_at")} {newest_report}) AS report_created_at
        FROM study
        {_order(dialect, "study.id DESC")}
    """  # noqa: S608 (constants of this file)


def _order(dialect: str, by: str) -> str:
    # PostgreSQL would sort all rows of a view that has an order before it gives the first one.
    return f"ORDER BY {by}" if dialect == "sqlite" else ""


def _json_text(dialect: str, column: str, key: str) -> str:
    found = f"json_extract({column}, '$.{key}')" if dialect == "sqlite" else f"{column} ->> '{key}'"
    return f"coalesce({found}, '')"


def _iso_time(dialect: str, column: str) -> str:
    # SQLite keeps `2026-01-31 08:00:00.000000`, in UTC: say so, in the form that every reader of tables knows.
    if dialect == "sqlite":
        return f"replace({column}, ' ', 'T') || 'Z'"
    return f"""to_char({column}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
