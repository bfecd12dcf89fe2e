-- Makes the database on every server of the cluster that the server's own macro names.
CREATE DATABASE IF NOT EXISTS {database:Identifier} ON CLUSTER '{cluster}'
