-- The migrations that this database has, oldest first.
SELECT
    number,
    argMin(name, applied_at) AS name,
    argMin(form, applied_at) AS form,
    argMin(checksum, applied_at) AS checksum,
    min(applied_at) AS first_applied_at
FROM schema_migrations
GROUP BY number
ORDER BY number
