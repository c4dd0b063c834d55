"""What somebody else can hold against a node: proofs, the audit, and the cosignatures of those who audited."""
