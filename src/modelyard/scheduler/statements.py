"""The SQL of instances and of this node, named."""

from __future__ import annotations

from modelyard.db.base import Statement

ADD_INSTANCE = Statement(
    "add_instance",
    "INSERT INTO instances (id, node, pool, model_id, version_id, engine, state, token_hash, hardware, memory_bytes,"
    " cpus, gpus, concurrency, created_at) VALUES (:id, :node, :pool, :model_id, :version_id, :engine, :state,"
    " :token_hash, :hardware, :memory_bytes, :cpus, :gpus, 1, :created_at)",
)
# Before its process exists: who takes it over must know what it has.
GIVEN_INSTANCE = Statement("given_instance", "UPDATE instances SET secrets = :secrets WHERE id = :id", by_key=True)
STARTED_INSTANCE = Statement(
    "started_instance", "UPDATE instances SET pid = :pid, pid_started = :pid_started WHERE id = :id", by_key=True
)
READY_INSTANCE = Statement(
    "ready_instance",
    "UPDATE instances SET state = 'idle', concurrency = :concurrency, ready_at = :ready_at WHERE id = :id",
    by_key=True,
)
END_INSTANCE = Statement(
    "end_instance",
    "UPDATE instances SET state = :state, stopped_at = :stopped_at, error = :error, secrets = NULL WHERE id = :id",
    by_key=True,
)
OPEN_INSTANCES = Statement(
    "open_instances",
    "SELECT id, model_id, version_id, state, token_hash, memory_bytes, cpus, gpus, concurrency, created_at, ready_at,"
    " secrets FROM instances WHERE node = :node AND state IN ('starting', 'idle', 'busy', 'draining')",
)
_ENDED = (
    "SELECT id, model_id, version_id, state, memory_bytes, cpus, gpus, created_at, ready_at, stopped_at, error"
    " FROM instances WHERE state IN ('stopped', 'failed')"
)
ENDED_INSTANCE = Statement("ended_instance", f"{_ENDED} AND id = :id")
ENDED_INSTANCES = Statement(
    "ended_instances",
    f"{_ENDED} AND (CAST(:owner AS TEXT) = ''"  # noqa: S608
    " OR model_id IN (SELECT id FROM models WHERE owner = CAST(:owner AS TEXT)))"
    " ORDER BY stopped_at DESC, id DESC LIMIT :limit",
)
FORGET_INSTANCES = Statement(
    "forget_instances",
    "DELETE FROM instances WHERE id IN (SELECT id FROM instances WHERE state IN ('stopped', 'failed')"
    " AND stopped_at < :before ORDER BY id LIMIT :limit)",
)
NODE_EPOCH = Statement(
    "node_epoch",
    "INSERT INTO nodes (id, address, epoch, started_at, heartbeat_at) VALUES (:id, :address, 1, :now, :now)"
    " ON CONFLICT (id) DO UPDATE SET epoch = nodes.epoch + 1, address = :address, started_at = :now,"
    " heartbeat_at = :now",
)
GET_EPOCH = Statement("get_epoch", "SELECT epoch FROM nodes WHERE id = :id")
