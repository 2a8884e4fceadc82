"""Django's settings, derived from the typed configuration. Nothing here is configured twice."""

import os
import secrets

import dj_database_url

from sentinel import config as configuration
from sentinel import menu

CONFIG = configuration.get()
BASE_DIR = configuration.BASE_DIR
DATA_DIR = CONFIG.sentinel_data_dir


def _secret_key() -> str:
    """The configured key, else one made once and kept in the data folder (mode 0600)."""
    if configured := CONFIG.sentinel_secret_key.get_secret_value():
        return configured
    path = configuration.data_dir(CONFIG) / "secret_key"
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(64))
    except FileExistsError:
        pass
    return path.read_text(encoding="utf-8")


SECRET_KEY = _secret_key()
DEBUG = CONFIG.sentinel_debug
ALLOWED_HOSTS = [host.strip() for host in CONFIG.sentinel_allowed_hosts.split(",") if host.strip()]
ROOT_URLCONF = "sentinel.urls"
ASGI_APPLICATION = "sentinel.asgi.application"

INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_prometheus",
    "ninja",
    "gateway",
    "limits",
    "usage",
]

# The admin's stack, on Django's stock handler. Several of these hop to a thread, which the API cannot afford.
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": dj_database_url.parse(
        CONFIG.database_url or f"sqlite:///{DATA_DIR / 'sentinel.sqlite3'}", conn_max_age=60
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Workers and the admin write side by side: wait for the lock instead of failing, and take it at once.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The synchronous side's door to the keys that the request path writes: JSON, bare key names.
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CONFIG.cache_url,
        "KEY_FUNCTION": "sentinel.lib.redis.bare_key",
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.DefaultClient",
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "SOCKET_TIMEOUT": 2,
            "SOCKET_CONNECT_TIMEOUT": 2,
        },
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "sentinel.formats"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_HTTPONLY = True
# Where a proxy ends TLS. It also redirects plain HTTP, and decides about subdomains and preload lists of its domain.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = CONFIG.sentinel_https
SECURE_HSTS_SECONDS = 31_536_000 if CONFIG.sentinel_https else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CONFIG.sentinel_https else None
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]
LOGGING_CONFIG = None  # sentinel.lib.logs configures logging
PROMETHEUS_EXPORT_MIGRATIONS = False
UNFOLD = {
    "SITE_TITLE": "Sentinel",
    "SITE_HEADER": "Sentinel",
    "SITE_SUBHEADER": "the meter is exact",
    "SITE_SYMBOL": "shield",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": menu.icon}],
    "SHOW_HISTORY": False,
    "DASHBOARD_CALLBACK": "usage.dashboard.add_to",
    "SIDEBAR": {"navigation": menu.NAVIGATION},
    "LOGIN": {"form": "gateway.lockout.LoginForm"},
    "COLORS": {"primary": menu.INDIGO},
}
