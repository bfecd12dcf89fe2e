"""Use cases in plain Python. A step owns its transactions; it knows neither HTTP nor Dagster."""
