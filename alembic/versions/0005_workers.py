"""Workers that share a clinic, and what each has in hand. `agcnn_clinic.database.leases` says how they are used."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | Sequence[str] | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Make the two tables. A clinic on SQLite leaves them empty."""
    # As 0003 has it: in the order of bytes.
    text = sa.String(collation="C" if op.get_context().dialect.name == "postgresql" else None)
    op.create_table(
        "worker",
        sa.Column("id", text, nullable=False),
        sa.Column("host", text, nullable=False),
        sa.Column("process_id", sa.Integer(), nullable=False),
        sa.Column("began_at", sa.DateTime(), nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_index(op.f("ix_worker_lease_until"), "worker", ["lease_until"])
    op.create_table(
        "claim",
        sa.Column("work", text, nullable=False),
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("worker_id", text, nullable=False),
        sa.ForeignKeyConstraint(
            ["worker_id"], ["worker.id"], name=op.f("fk_claim_worker_id_worker"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("work", "key", name=op.f("pk_claim")),
    )
    op.create_index(op.f("ix_claim_worker_id"), "claim", ["worker_id"])


def downgrade() -> None:
    """Remove them; stop all workers before."""
    op.drop_table("claim")
    op.drop_table("worker")
