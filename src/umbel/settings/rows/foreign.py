"""Settings of result stores that Umbel does not have; they are accepted and do nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.settings.kinds import FLAG, ITEMS, MAPPING, SECONDS, TEXT, WHOLE
from umbel.settings.setting import Setting

if TYPE_CHECKING:
    from umbel.settings.kinds import Kind
    from umbel.settings.setting import Origin


def _row(
    store: str,
    name: str,
    kind: Kind,
    default: Any = None,
    *,
    secret: bool = False,
    origin: Origin = "celery",
) -> Setting:
    return Setting(
        name,
        kind,
        default,
        f"In Celery: an option of the {store} result backend.",
        secret=secret,
        origin=origin,
        inert=f"results are not kept in {store}, but in SQLite, PostgreSQL, Redis, RabbitMQ (rpc) "
        "or a database that SQLAlchemy knows",
    )


_AZURE, _CACHE, _CASSANDRA = "Azure Blob Storage", "Memcached", "Cassandra"
_COSMOS, _ELASTIC, _GCS, _S3 = "Cosmos DB", "Elasticsearch", "Google Cloud Storage", "Amazon S3"

FOREIGN = (
    _row("ArangoDB", "arangodb_backend_settings", MAPPING),
    _row(_AZURE, "azureblockblob_base_path", TEXT, ""),
    _row(_AZURE, "azureblockblob_connection_timeout", WHOLE, 20),
    _row(_AZURE, "azureblockblob_container_name", TEXT, "celery"),
    _row(_AZURE, "azureblockblob_read_timeout", WHOLE, 120),
    _row(_AZURE, "azureblockblob_retry_increment_base", WHOLE, 2),
    _row(_AZURE, "azureblockblob_retry_initial_backoff_sec", WHOLE, 2),
    _row(_AZURE, "azureblockblob_retry_max_attempts", WHOLE, 3),
    _row(_CACHE, "cache_backend_options", MAPPING, {}),
    _row(_CASSANDRA, "cassandra_auth_kwargs", TEXT, secret=True),
    _row(_CASSANDRA, "cassandra_auth_provider", TEXT),
    _row(_CASSANDRA, "cassandra_bundle_path", TEXT),
    _row(_CASSANDRA, "cassandra_entry_ttl", SECONDS),
    _row(_CASSANDRA, "cassandra_keyspace", TEXT),
    _row(_CASSANDRA, "cassandra_options", MAPPING, {}),
    _row(_CASSANDRA, "cassandra_port", TEXT),
    _row(_CASSANDRA, "cassandra_read_consistency", TEXT),
    _row(_CASSANDRA, "cassandra_secure_bundle_path", TEXT, origin="undeclared"),
    _row(_CASSANDRA, "cassandra_servers", ITEMS),
    _row(_CASSANDRA, "cassandra_table", TEXT),
    _row(_CASSANDRA, "cassandra_write_consistency", TEXT),
    _row(_COSMOS, "cosmosdbsql_collection_name", TEXT, "celerycol"),
    _row(_COSMOS, "cosmosdbsql_consistency_level", TEXT, "Session"),
    _row(_COSMOS, "cosmosdbsql_database_name", TEXT, "celerydb"),
    _row(_COSMOS, "cosmosdbsql_max_retry_attempts", WHOLE, 9),
    _row(_COSMOS, "cosmosdbsql_max_retry_wait_time", WHOLE, 30),
    _row("Couchbase", "couchbase_backend_settings", MAPPING),
    _row("DynamoDB", "dynamodb_endpoint_url", TEXT, origin="undeclared"),
    _row(_ELASTIC, "elasticsearch_max_retries", WHOLE),
    _row(_ELASTIC, "elasticsearch_retry_on_timeout", FLAG),
    _row(_ELASTIC, "elasticsearch_save_meta_as_text", FLAG, True),
    _row(_ELASTIC, "elasticsearch_timeout", SECONDS),
    _row(_GCS, "gcs_base_path", TEXT, ""),
    _row(_GCS, "gcs_bucket", TEXT),
    _row(_GCS, "gcs_project", TEXT),
    _row(_GCS, "gcs_threadpool_maxsize", WHOLE, origin="undeclared"),
    _row(_GCS, "gcs_ttl", SECONDS, 0),
    _row("MongoDB", "mongodb_backend_settings", MAPPING),
    _row(_S3, "s3_access_key_id", TEXT, secret=True),
    _row(_S3, "s3_base_path", TEXT),
    _row(_S3, "s3_bucket", TEXT),
    _row(_S3, "s3_endpoint_url", TEXT),
    _row(_S3, "s3_region", TEXT),
    _row(_S3, "s3_secret_access_key", TEXT, secret=True),
)
