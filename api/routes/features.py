"""Features: what prices are for."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.auth import Call, needs
from api.once import Once, creates
from api.routing import PathId, router
from api.schemas.catalog_changes import CatalogVersionOut
from api.schemas.common import Listing
from api.schemas.features import FeatureChangesIn, FeatureIn, FeatureOut
from api.schemas.paging import Paging
from api.schemas.problem import problems
from ledger.store import features

routes = router("Features")


@routes.post("/features", status_code=201, response_model=FeatureOut, responses=problems(409))
def create_feature(body: FeatureIn, once: Annotated[Once, creates("catalog:write")]) -> Response:
    """Create a feature. A metered one names the meter that counts it."""
    body.require_consistent()

    def make(session: Session) -> FeatureOut:
        created = features.create_feature(session, once.call.scope, **body.model_dump(), now=once.call.now)
        return FeatureOut.of(created)

    return once.create(make)


@routes.get("/features/{feature_id}", responses=problems(404))
def get_feature(feature_id: PathId, call: Annotated[Call, needs("catalog:read")]) -> FeatureOut:
    """Read a feature by its id or key."""
    with call.deps.ledger.read() as session:
        return FeatureOut.of(features.get_feature(session, call.scope, feature_id))


@routes.get("/features")
def list_features(
    paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]
) -> Listing[FeatureOut]:
    """List features, newest first."""
    with call.deps.ledger.read() as session:
        page = features.list_features(session, call.scope, paging.cursor, paging.limit)
    return Listing(items=[FeatureOut.of(feature) for feature in page.items], next_cursor=page.next_cursor)


@routes.patch("/features/{feature_id}", responses=problems(404, 409))
def change_feature(
    feature_id: PathId, body: FeatureChangesIn, call: Annotated[Call, needs("catalog:write")]
) -> FeatureOut:
    """Change the name or description of a feature: a new version. Invoices keep what they say."""

    def change(session: Session) -> FeatureOut:
        changes = body.changes(features.get_feature(session, call.scope, feature_id))
        return FeatureOut.of(features.update_feature(session, call.scope, feature_id, changes, call.now))

    return call.deps.ledger.run(change)


@routes.post("/features/{feature_id}/archive", responses=problems(404))
def archive_feature(feature_id: PathId, call: Annotated[Call, needs("catalog:write")]) -> FeatureOut:
    """Close a feature to new prices. The prices that name it go on and are billed as before."""
    return call.deps.ledger.run(
        lambda session: FeatureOut.of(features.archive_feature(session, call.scope, feature_id, call.now))
    )


@routes.get("/features/{feature_id}/versions", responses=problems(404))
def list_feature_versions(
    feature_id: PathId, paging: Annotated[Paging, Query()], call: Annotated[Call, needs("catalog:read")]
) -> Listing[CatalogVersionOut]:
    """List the versions of a feature, newest first."""
    with call.deps.ledger.read() as session:
        page = features.list_versions(session, call.scope, feature_id, paging.cursor, paging.limit)
    return Listing(items=[CatalogVersionOut.of(version) for version in page.items], next_cursor=page.next_cursor)
