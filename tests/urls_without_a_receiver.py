"""URLs of a site that receives nothing."""

urlpatterns: list[object] = []
