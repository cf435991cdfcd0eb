"""The revision of a study that its report covers, and an index of the studies whose report is older or missing.

The reporting loop asks for these again and again. It used to look at every study that ever came: with a million of them
nearly a second, and since it rests twenty times as long as it looked, a new study waited for its report as long.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | Sequence[str] | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_study_unreported"
UNREPORTED = sa.text("reported_revision < revision")
COVERED = """
    UPDATE study SET reported_revision = coalesce(
        (SELECT max(report.study_revision) FROM report WHERE report.study_id = study.id AND report.model_id IS NULL), 0
    )
"""


def upgrade() -> None:
    """Add both, and fill the column from the reports."""
    op.add_column("study", sa.Column("reported_revision", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.execute(COVERED)
    op.create_index(
        op.f(INDEX), "study", ["last_received_at", "id"], sqlite_where=UNREPORTED, postgresql_where=UNREPORTED
    )


def downgrade() -> None:
    """Take them away: the reports know it, too."""
    op.drop_index(op.f(INDEX), table_name="study")
    op.drop_column("study", "reported_revision")
