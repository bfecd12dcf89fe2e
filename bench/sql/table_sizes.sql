-- What each table takes on disk.
SELECT table, sum(rows) AS stored_rows, count() AS parts, sum(bytes_on_disk) AS bytes
FROM system.parts
WHERE active AND database = currentDatabase()
GROUP BY table
ORDER BY bytes DESC
