"""The audit trail: a table that only grows. `agcnn_clinic.database.audit` says how its rows are chained."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the table, and the triggers that refuse to change it. No row that was there before is touched."""
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("recorded_at", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("event_type", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("outcome", sa.Integer(), nullable=False),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("login_name", sa.String(), nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("software_version", sa.String(), nullable=False),
        sa.Column("studies", sa.String(), nullable=False),
        sa.Column("files", sa.String(), nullable=False),
        sa.Column("details", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index(op.f("ix_audit_event_event_id"), "audit_event", ["event", "id"])
    if op.get_context().dialect.name == "postgresql":
        op.execute(_BYTE_ORDER)
    for statement in _GUARDS[op.get_context().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Remove it. The trail is lost; export it before (`agcnn-clinic audit list --format json --limit 0`)."""
    op.drop_table("audit_event")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_event_is_append_only()")
        op.execute("DROP FUNCTION audit_event_is_next()")


# As 0003 does it for the tables before: an index in the order of a language may be wrong after an update.
_BYTE_ORDER = """
    DO $$
    DECLARE place record;
    BEGIN
        FOR place IN
            SELECT column_name FROM information_schema.columns
            WHERE table_schema = current_schema() AND table_name = 'audit_event' AND data_type = 'character varying'
        LOOP
            EXECUTE 'ALTER TABLE audit_event ALTER COLUMN ' || quote_ident(place.column_name)
                || ' TYPE varchar COLLATE "C"';
        END LOOP;
    END $$
"""

# Every statement that could change a row that is there, and every row that does not continue the chain.
_GUARDS = {
    "sqlite": (
        """
        CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
        """,
        """
        CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
        """,
        # INSERT OR REPLACE deletes without asking the trigger above.
        """
        CREATE TRIGGER audit_event_in_order BEFORE INSERT ON audit_event
        WHEN NEW.id IS NOT (SELECT coalesce(max(id), 0) + 1 FROM audit_event)
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
        """,
    ),
    "postgresql": (
        """
        CREATE FUNCTION audit_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$
        """,
        """
        CREATE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON audit_event
        FOR EACH ROW EXECUTE FUNCTION audit_event_is_append_only()
        """,
        """
        CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON audit_event
        FOR EACH STATEMENT EXECUTE FUNCTION audit_event_is_append_only()
        """,
        """
        CREATE FUNCTION audit_event_is_next() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.id IS DISTINCT FROM (SELECT coalesce(max(id), 0) + 1 FROM audit_event) THEN
                RAISE EXCEPTION 'the audit trail is append-only';
            END IF;
            RETURN NEW;
        END $$
        """,
        """
        CREATE TRIGGER audit_event_in_order BEFORE INSERT ON audit_event
        FOR EACH ROW EXECUTE FUNCTION audit_event_is_next()
        """,
    ),
}
