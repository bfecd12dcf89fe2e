FROM python:3.11-slim
# Where runs are to be: kubernetes or celery (docs/grow.md); by default beside the code server.
ARG EXTRAS=""
WORKDIR /srv/tallyhouse
RUN pip install --no-cache-dir uv
COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY bench bench
COPY billing billing
COPY cli cli
COPY dagster_home dagster_home
COPY ingestion ingestion
COPY integrations integrations
COPY ledger ledger
COPY pipelines pipelines
COPY settings settings
COPY warehouse_sql warehouse_sql
RUN uv pip install --system --no-cache -e ".${EXTRAS:+[$EXTRAS]}"
RUN useradd --create-home tally && mkdir -p /srv/state /srv/dagster && chown tally /srv/state /srv/dagster
USER tally
