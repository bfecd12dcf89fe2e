-- Makes the database itself. Single server.
CREATE DATABASE IF NOT EXISTS {database:Identifier}
