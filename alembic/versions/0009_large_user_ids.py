"""Users' numbers beyond 2,147,483,647 in the audit trail, as a directory service may give them.

A number of 32 bits without a sign is no `integer` of PostgreSQL, and nothing that such a user did could be recorded:
every command that must be recorded failed. An INTEGER of SQLite takes them as it is.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | Sequence[str] | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Widen the column. The server writes the table anew; what is hashed of each row stays the same."""
    _to(sa.Integer(), sa.BigInteger())


def downgrade() -> None:
    """Make it narrow again; the server refuses where the trail has such a user."""
    _to(sa.BigInteger(), sa.Integer())


def _to(before: sa.Integer, after: sa.Integer) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("audit_event", "user_id", existing_type=before, existing_nullable=False, type_=after)
