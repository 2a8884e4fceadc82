"""Mounts the API, the operations endpoints and the admin."""

from django.contrib import admin
from django.urls import path, re_path

from gateway.api import PASSTHROUGH, api
from gateway.views import docs, ops, passthrough

urlpatterns = [
    path("v1/openapi.json", docs.document),
    path("v1/docs", docs.page),
    path("v1/", api.urls),
    re_path(r"^v1(?:/.*)?$", passthrough.pass_through, name=PASSTHROUGH),
    path("health", ops.health),
    path("health/live", ops.live),
    path("health/ready", ops.ready),
    path("metrics", ops.metrics),
    path("admin/", admin.site.urls),
]
