"""Which reports wait to be sent to a DICOM archive, and when one took them.

Reports that are there already do not wait: who begins to send may not want those of years in the archive.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from agcnn_clinic.database.values import UtcDateTime

revision: str = "0010"
down_revision: str | Sequence[str] | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_report_to_send"
WAITING = sa.text("to_send")


def upgrade() -> None:
    """Add both, and an index of those that wait."""
    op.add_column("report", sa.Column("to_send", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("report", sa.Column("sent_at", UtcDateTime(), nullable=True))
    op.create_index(op.f(INDEX), "report", ["id"], sqlite_where=WAITING, postgresql_where=WAITING)


def downgrade() -> None:
    """Take them away; nothing else knows what was sent but the audit trail."""
    op.drop_index(op.f(INDEX), table_name="report")
    op.drop_column("report", "sent_at")
    op.drop_column("report", "to_send")
