-- What the engine is doing in the background.
SELECT count() AS merges FROM system.merges
