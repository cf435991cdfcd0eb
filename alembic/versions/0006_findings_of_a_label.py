"""Findings of one label, the newest reading first: what `findings --label` asks, answered from an index as it stands.

The index by probability had all findings of a label sorted before the first was shown: seven seconds of a million
studies. In this one they lie in the order in which they are shown, with what else is asked of them; a rare finding is
looked for through all of a label in a tenth of a second.
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0006"
down_revision: str | Sequence[str] | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

OLD, NEW = "ix_finding_label_probability", "ix_finding_label_inference_id"


def upgrade() -> None:
    """Replace the index."""
    op.create_index(op.f(NEW), "finding", ["label", "inference_id", "probability", "positive"])
    op.drop_index(op.f(OLD), table_name="finding")


def downgrade() -> None:
    """Bring the old one back."""
    op.create_index(op.f(OLD), "finding", ["label", "probability"])
    op.drop_index(op.f(NEW), table_name="finding")
