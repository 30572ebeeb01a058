"""A Substrait plan that answers one row, `SELECT 1 AS a`: a root over a read of a virtual table, version 0.57."""

PLAN = bytes.fromhex("1a2212200a1b0a19120d0a016112080a043a02100218022a0812060a040a02380112016132021039")
