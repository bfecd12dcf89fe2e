"""Files of events, read as the lines that the API takes: NDJSON, CSV and Parquet, a part at a time."""
